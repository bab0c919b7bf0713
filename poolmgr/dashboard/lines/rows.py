"""The processes that have a pool to a target: how each stands, and for those that are shown a row in words."""

from __future__ import annotations

from dataclasses import dataclass

from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from poolmgr.control.reporting.fleet import Fleet
from poolmgr.control.reporting.spoken import spoken
from poolmgr.control.reporting.troubles import silent_after
from poolmgr.dashboard.addresses import process_address
from poolmgr.dashboard.lines.wanted import Wanted, settings_label
from poolmgr.dashboard.words.present import DASH, Figure, ago, duration, number, timed
from poolmgr.metrics.health import STATES, Verdict, ease, verdict_of
from poolmgr.metrics.phrases import as_phrase
from poolmgr.metrics.snapshot import PoolSnapshot, ProcessBeat
from poolmgr.targets.known import kind_named


@dataclass(frozen=True, slots=True)
class Standing:
    """One pool of one process; ``late`` says that it is silent for longer than a live one is, so that its figures are of
    then."""

    beat: ProcessBeat
    pool: PoolSnapshot
    verdict: Verdict
    age: float
    late: bool

    @property
    def state(self) -> str:
        return "unknown" if self.late else self.verdict.state

    @property
    def place(self) -> str:
        return f"{self.beat.host}:{self.beat.pid}"

    @property
    def sentence(self) -> str:
        """In the reader's language."""
        said = spoken(self.verdict.sentence)
        if not self.late:
            return said
        return _("Silent for %(age)s; then: %(said)s") % {"age": duration(self.age), "said": said}

    @property
    def settings(self) -> str:
        """What it follows, in the reader's language."""
        return settings_label(self.pool.profile, self.pool.revision)


@dataclass(frozen=True, slots=True)
class ProcessRow:
    """A standing in words. ``drift`` says why its settings are not the ones it should follow."""

    uid: str
    role: str
    name: str
    place: str
    state: str
    sentence: str
    paused: bool
    full: bool
    used: str
    idle: str
    pending: str
    waits: bool
    limit: str
    limited: str
    wait: Figure
    oldest: Figure
    timeouts: str
    settings: str
    drift: str
    beat: str
    late: bool
    up: str
    problem: str
    address: str


def standings(target: str, fleet: Fleet) -> list[Standing]:
    """The worst first, of equals those with the least ease."""
    latest = silent_after(fleet.store)
    found = [
        _standing(beat, pool, fleet.at, latest)
        for beat in fleet.processes
        for pool in beat.pools
        if pool.target == target
    ]
    found.sort(key=lambda each: (-STATES.index(each.state), *ease(each.pool), each.beat.role, each.place))
    return found


def _standing(beat: ProcessBeat, pool: PoolSnapshot, now: float, latest: float) -> Standing:
    age = max(0.0, now - beat.at)
    return Standing(beat, pool, verdict_of(beat.role, f"{beat.host}:{beat.pid}", pool, now), age, age > latest)


def process_row(of: Standing, wanted: Wanted, now: float) -> ProcessRow:
    beat, pool = of.beat, of.pool
    return ProcessRow(
        uid=beat.uid,
        role=beat.role,
        name=beat.name,
        place=of.place,
        state=of.state,
        sentence=of.sentence,
        paused=pool.status == "paused",
        full=pool.used >= (pool.limit or pool.max_size) > 0,
        used=number(pool.used),
        idle=number(pool.idle),
        pending=number(pool.pending),
        waits=pool.pending > 0,
        limit=number(pool.limit),
        limited=_limited(pool),
        wait=timed(pool.recent_wait_time.quantile(0.95)),
        oldest=timed(pool.oldest_checkout if pool.used else None),
        timeouts=DASH if kind_named(pool.kind).elsewhere else number(pool.recent_timeouts),
        settings=of.settings,
        drift=_drift((pool.profile, pool.revision), wanted.settings(pool.target, beat.role)),
        beat=ago(of.age),
        late=of.late,
        up=duration(now - beat.started),
        problem=spoken(as_phrase(pool.problem)),
        address=process_address(beat.uid),
    )


def _drift(actual: tuple[str, int], expected: tuple[str, int] | None) -> str:
    if expected is None or actual == expected:
        return ""
    return _("should follow %(settings)s") % {"settings": settings_label(*expected)}


def _limited(pool: PoolSnapshot) -> str:
    """Why the pool may not grow to its max_size now."""
    if pool.limit >= pool.max_size:
        return ""
    text = ngettext(
        "the budget grants %(limit)s connection of max_size %(max)s",
        "the budget grants %(limit)s connections of max_size %(max)s",
        pool.limit,
    )
    return text % {"limit": number(pool.limit), "max": number(pool.max_size)}
