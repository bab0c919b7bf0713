"""The processes that have a pool to a target, one row each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from poolmgr.control.reporting.fleet import Fleet
from poolmgr.control.reporting.spoken import spoken
from poolmgr.control.reporting.troubles import silent_after
from poolmgr.dashboard.addresses import process_address
from poolmgr.dashboard.lines.wanted import Wanted, settings_label
from poolmgr.dashboard.words.present import DASH, Figure, ago, duration, number, timed
from poolmgr.metrics.health import STATES, verdict_of
from poolmgr.metrics.phrases import as_phrase
from poolmgr.metrics.snapshot import PoolSnapshot, ProcessBeat
from poolmgr.targets.known import kind_named


class Figures(NamedTuple):
    """What rows are sorted by."""

    used: int
    pending: int
    oldest: float
    timeouts: int


@dataclass(frozen=True, slots=True)
class ProcessRow:
    """One pool of one process. ``drift`` says why its settings are not the ones it should follow."""

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
    late: bool  # silent for longer than a live process is: its figures are of then, and not of now
    up: str
    problem: str
    address: str
    figures: Figures


def process_rows(target: str, fleet: Fleet, wanted: Wanted) -> tuple[ProcessRow, ...]:
    """The worst first, of equals who has the longest queue and the least room."""
    found = [
        (pool, _row(beat, pool, fleet, wanted.settings(target, beat.role)))
        for beat in fleet.processes
        for pool in beat.pools
        if pool.target == target
    ]
    found.sort(key=lambda pair: (-STATES.index(pair[1].state), *_ease(pair[0]), pair[1].role, pair[1].place))
    return tuple(row for _, row in found)


def _ease(pool: PoolSnapshot) -> tuple[int, float]:
    return -pool.pending, -pool.used / (pool.limit or pool.max_size or 1)


def _row(beat: ProcessBeat, pool: PoolSnapshot, fleet: Fleet, expected: tuple[str, int] | None) -> ProcessRow:
    place = f"{beat.host}:{beat.pid}"
    verdict = verdict_of(beat.role, place, pool, fleet.at)
    age = max(0.0, fleet.at - beat.at)
    late = age > silent_after(fleet.store)
    return ProcessRow(
        uid=beat.uid,
        role=beat.role,
        name=beat.name,
        place=place,
        state="unknown" if late else verdict.state,
        sentence=_("Silent for %(age)s; then: %(said)s") % {"age": duration(age), "said": spoken(verdict.sentence)}
        if late
        else spoken(verdict.sentence),
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
        settings=settings_label(pool.profile, pool.revision),
        drift=_drift((pool.profile, pool.revision), expected),
        beat=ago(age),
        late=late,
        up=duration(fleet.at - beat.started),
        problem=spoken(as_phrase(pool.problem)),
        address=process_address(beat.uid),
        figures=Figures(pool.used, pool.pending, pool.oldest_checkout, pool.recent_timeouts),
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
