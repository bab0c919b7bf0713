"""Samples for history: one row for each target and role and interval, with exact differences of the fleet's totals.

Samples, the totals that are in them, and what is rolled up are one transaction. Whoever moves the clock forward in it takes
the samples of that interval: so two at once make them once, and a crash loses and doubles nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from time import time
from typing import Any
from uuid import uuid4

from django.db.models import Q

from poolmgr.conf import ROLES, conf
from poolmgr.control.access import control_alias, control_transaction
from poolmgr.control.reporting.beats import read_settled
from poolmgr.control.reporting.fleet import Fleet, fleet_of
from poolmgr.control.reporting.looks import shared
from poolmgr.control.reporting.past import moment
from poolmgr.control.reporting.totals import read_totals
from poolmgr.control.reporting.views import Profiles, TargetView
from poolmgr.control.store import FleetStore, StoreDown, get_store
from poolmgr.control.store.reading import TOTALS_KEPT
from poolmgr.control.watching.ageing import roll_up, row_of
from poolmgr.control.watching.counting import Before, Counted, Key, Taken, counted
from poolmgr.control.watching.moments import Moments, Most
from poolmgr.exceptions import ConfigurationError
from poolmgr.metrics.health import Checked
from poolmgr.metrics.periods import Period, Slots
from poolmgr.metrics.places import RoleView
from poolmgr.metrics.totals import Total, believed
from poolmgr.models import Sample, SampleClock, SampledTotal
from poolmgr.targets.known import kind_named, kinds_by_target

#: Under which a store keeps the name of its memory: one that has none has lost it.
_MEMORY = "(samples)"
#: Seconds by which the clocks of two hosts may differ.
_AHEAD = 60.0


class Sampler:
    """Of the process that leads, and used by its agent's thread."""

    def __init__(self) -> None:
        self._moments = Moments()
        self._done = 0

    def see(self, fleet: Fleet) -> None:
        """A look at the fleet."""
        self._moments.see(fleet, _interval())

    @property
    def is_due(self) -> bool:
        """Whether an interval has ended of which this process knows no samples."""
        return self._done < _interval() - 1

    def take(self, profiles: Profiles | None, checks: Mapping[str, Checked]) -> int:
        """Keep the figures of the interval that just ended, once in the fleet; how many rows were made.

        While not all of the fleet can be read, a later turn of the interval has to do. Raises ``django.db.Error``.
        """
        ended = _interval() - 1
        if self._done >= ended:
            return 0
        before = _clock()
        if _end(ended) <= before.at <= _end(ended) + _AHEAD:
            self._done = ended
            return 0
        if (beats := read_settled()) is None:
            return 0
        counts = _counts()
        views = fleet_of(beats, profiles, checks, "", seen=shared(_looked_at())).targets
        made = _keep(before, ended, counts, views, self._moments.of(ended))
        self._done = ended
        return made


@dataclass(frozen=True, slots=True)
class _Counts:
    """The fleet's totals as they were ``at`` a moment, None where nobody can tell, and the name of the memory they are of."""

    at: float
    totals: tuple[Total, ...] | None
    memory: str


def _counts() -> _Counts:
    try:
        memory = _memory(get_store())
    except (StoreDown, ConfigurationError):
        return _Counts(time(), None, "")
    return _Counts(time(), read_totals(), memory)


def _memory(store: FleetStore) -> str:
    """The name of what the store remembers, where it may forget. Raises ``StoreDown``."""
    if not store.pushes:
        return ""
    (name,) = store.notes((_MEMORY,))
    name = name if 0 < len(name) <= 40 and name.isalnum() else uuid4().hex
    store.note(_MEMORY, name, TOTALS_KEPT)
    return name


def _keep(before: Before, ended: int, counts: _Counts, views: tuple[TargetView, ...], most: Mapping[Key, Most]) -> int:
    with control_transaction() as alias:
        if not _move(alias, before, ended, counts):
            return 0
        found: dict[Key, Counted] = {}
        if counts.totals is not None:
            taken = _taken(alias)
            found = counted(counts.totals, replace(before, taken=taken), counts.memory, counts.at)
            found |= _quiet(before, counts, views)
            _remember(alias, counts, taken)
        rows = list(_rows(ended, views, most, found))
        Sample.objects.using(alias).bulk_create(rows, ignore_conflicts=True)
        roll_up(alias, before.at, _end(ended))
    return len(rows)


# -- the clock and the totals that are in samples ----------------------------------------------------------------------


def _clock() -> Before:
    row = SampleClock.objects.using(control_alias()).filter(pk=1).first()
    if row is None:
        return Before()
    read = row.counted_at.timestamp() if row.counted_at else 0.0
    return Before(at=max(0.0, row.at.timestamp()), counted=max(0.0, read), memory=row.memory)


def _move(alias: str, before: Before, ended: int, counts: _Counts) -> bool:
    """Whether nobody else has moved the clock meanwhile."""
    clock = SampleClock.objects.using(alias)
    if not before.at:
        clock.bulk_create([SampleClock(pk=1, at=moment(0.0))], ignore_conflicts=True)
        clock.filter(pk=1, at__lt=moment(0.0)).update(at=moment(0.0))
    end = _end(ended)
    values: dict[str, Any] = {"at": moment(end)}
    if counts.totals is not None:
        values |= {"counted_at": moment(counts.at), "memory": counts.memory}
    # One that is far ahead was set by a host whose own clock is wrong.
    as_before = Q(at__gt=moment(end + _AHEAD)) if before.at > end else Q(at=moment(before.at))
    return bool(clock.filter(as_before, pk=1).update(**values))


def _taken(alias: str) -> dict[Key, Taken]:
    return {
        (row.target, row.role): Taken(row.at.timestamp(), believed(row.sums))
        for row in SampledTotal.objects.using(alias).all()
    }


def _quiet(before: Before, counts: _Counts, views: tuple[TargetView, ...]) -> dict[Key, Counted]:
    """Pools that have never counted anything: that is known too, but where the pools are a server's own, which tells none."""
    told = {(total.target, total.role) for total in counts.totals or ()}
    keys = {(view.target, role.role) for view in views if not kind_named(view.kind).elsewhere for role in view.roles}
    seconds = max(0.0, counts.at - before.counted)
    return {key: Counted(seconds, Total(*key, {})) for key in keys - told} if before.counted else {}


def _remember(alias: str, counts: _Counts, taken: Mapping[Key, Taken]) -> None:
    totals = {(total.target, total.role): total for total in counts.totals or ()}
    kept = SampledTotal.objects.using(alias)
    for target, role in taken.keys() - totals.keys():
        # To which nobody has added for so long that the store forgot it: it will begin at zero.
        kept.filter(target=target, role=role).delete()
    rows = [
        SampledTotal(target=t, role=r, at=moment(counts.at), sums=dict(each.sums)) for (t, r), each in totals.items()
    ]
    kept.bulk_create(rows, update_conflicts=True, unique_fields=["target", "role"], update_fields=["at", "sums"])


# -- rows --------------------------------------------------------------------------------------------------------------


def _rows(
    ended: int, views: tuple[TargetView, ...], most: Mapping[Key, Most], found: Mapping[Key, Counted]
) -> Iterator[Sample]:
    """Of each target and role with live processes, or that counted something since."""
    interval = conf().SAMPLE_INTERVAL
    blank = Period(ended * interval, interval, looks=1)
    seen = {(view.target, role.role): (view, role) for view in views for role in view.roles if role.role in ROLES}
    gained = {key for key, each in found.items() if each.gain.sums}
    for key in sorted(seen.keys() | gained):
        period = blank
        if key in seen:
            view, role = seen[key]
            period = replace(_gauged(blank, role, most.get(key, Most())), slots=_slots(view))
        if key in found:
            period = _with(period, found[key])
        yield row_of(0, *key, period)


def _gauged(blank: Period, role: RoleView, most: Most) -> Period:
    most |= Most(role.used, role.pending, len(role.full))
    return replace(
        blank,
        used=role.used,
        idle=role.idle,
        pending=role.pending,
        used_most=most.used,
        pending_most=most.pending,
        full=most.full,
        capacity=role.capacity,
        processes=len(role.places),
    )


def _slots(view: TargetView) -> Slots | None:
    if view.seen is not None and view.seen_now and view.seen.most:
        return Slots(view.seen.used, view.seen.most, sum(view.seen.ours.values()))
    check = view.last_health
    if check is None or not view.health_fresh or check.server_used is None:
        return None
    return Slots(check.server_used, check.server_max, check.ours)


def _with(period: Period, counted: Counted) -> Period:
    gain = counted.gain
    return replace(
        period,
        seconds=counted.seconds,
        checkouts=gain.count("checkouts"),
        timeouts=gain.count("timeouts"),
        errors=gain.count("checkout_errors"),
        created=gain.count("created"),
        create_errors=gain.count("create_errors"),
        lost=gain.count("found_dead"),
        wait=gain.times("wait_time"),
        use=gain.times("use_time"),
        create=gain.times("create_time"),
    )


def _looked_at() -> tuple[str, ...]:
    return tuple(target for target, kind in kinds_by_target().items() if kind.tells_sessions)


def _interval() -> int:
    """The number of the one that goes on."""
    return int(time() // conf().SAMPLE_INTERVAL)


def _end(interval: int) -> float:
    return (interval + 1) * conf().SAMPLE_INTERVAL
