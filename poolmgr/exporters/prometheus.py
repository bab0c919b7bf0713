"""The fleet in Prometheus' text format, under OpenTelemetry's names for database client pools.

One page tells of the whole fleet, so one scrape target is enough. Its series are those of a target and a role: what was
counted comes from the store's totals, since a sum over live processes falls whenever one ends, which ``rate()`` takes for a
reset of the whole.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain

from poolmgr.control.reporting.fleet import Fleet
from poolmgr.exporters.judged import judged, of
from poolmgr.exporters.names import COUNT, COUNTERS, GAUGES, HISTOGRAMS, MEANS, PINS, PREFIX, REASON, STATE, STATES
from poolmgr.exporters.text import CONTENT_TYPE, Labels, gauge, head, line
from poolmgr.metrics.histogram import BOUNDS
from poolmgr.metrics.snapshot import PoolSnapshot
from poolmgr.metrics.totals import Total, sums_of
from poolmgr.targets.known import kind_named

__all__ = ["CONTENT_TYPE", "render", "render_processes"]

_PREFIX = PREFIX.replace(".", "_")

#: The pools that make one series of a gauge.
_Present = Sequence[tuple[Labels, Sequence[PoolSnapshot]]]
_Counted = Sequence[tuple[Labels, Total]]


def render(fleet: Fleet, totals: Sequence[Total] | None, control_up: bool = True) -> str:
    """The page for one scrape; ``totals`` is None where nobody can tell them now: what was counted is left out then.

    Without ``control_up``, the verdicts are the pools' alone: no check of a server is known.
    """
    live: dict[tuple[str, str], list[PoolSnapshot]] = {}
    for beat in fleet.processes:
        for pool in beat.pools:
            live.setdefault((pool.target, beat.role), []).append(pool)
    present = [(_of(*place), pools) for place, pools in sorted(live.items())]
    sections = (
        _connections(present),
        _gauges(present),
        () if totals is None else _counts(_all_of(totals, live)),
        _means(present),
        judged(fleet, live),
        _one("poolmgr_unread_processes", "Live processes whose heartbeats can't be read.", len(fleet.unread)),
        _one("poolmgr_totals_up", "Whether the store tells what the fleet has counted.", totals is not None),
        _one("poolmgr_control_up", "Whether the control database answers.", control_up),
        ("",),
    )
    return "\n".join(chain.from_iterable(sections))


def render_processes(fleet: Fleet) -> str:
    """The series of each live process by itself, and no others."""
    pools = [
        ((*_of(pool.target, beat.role), ("process", f"{beat.host}:{beat.pid}")), pool, beat.role)
        for beat in fleet.processes
        for pool in beat.pools
    ]
    present = [(labels, (pool,)) for labels, pool, _ in pools]
    counted = [
        (labels, Total(pool.target, role, sums_of(pool))) for labels, pool, role in pools if _counts_itself(pool)
    ]
    sections = (_connections(present), _gauges(present), _counts(counted), _means(present), ("",))
    return "\n".join(chain.from_iterable(sections))


def _of(target: str, role: str) -> Labels:
    return of(target, ("role", role))


def _all_of(totals: Sequence[Total], live: dict[tuple[str, str], list[PoolSnapshot]]) -> _Counted:
    """Zeros, too, of pools that have counted nothing yet: a series should not begin with its first event."""
    found = {place: Total(*place, {}) for place, pools in live.items() if _counts_itself(pools[0])}
    found |= {(total.target, total.role): total for total in totals}
    return [(_of(*place), total) for place, total in sorted(found.items())]


def _counts_itself(pool: PoolSnapshot) -> bool:
    """Whether its every checkout is counted and timed; a server that keeps its own pools tells less."""
    return not kind_named(pool.kind).elsewhere


def _connections(present: _Present) -> Iterator[str]:
    name, unit, text = COUNT
    yield from head(named := _named(name, unit), "gauge", text)
    for labels, pools in present:
        for state in STATES:
            number = sum(getattr(pool, state) for pool in pools)
            yield line(named, (*labels, (STATE.replace(".", "_"), state)), number)


def _gauges(present: _Present) -> Iterator[str]:
    for each in GAUGES:
        yield from head(named := _named(each.name, each.unit), "gauge", each.text)
        yield from (line(named, labels, each.together(map(each.read, pools))) for labels, pools in present)


def _counts(counted: _Counted) -> Iterator[str]:
    for each in COUNTERS:
        yield from head(named := _named(each.name, each.unit) + "_total", "counter", each.text)
        yield from (line(named, labels, total.count(each.field)) for labels, total in counted)
    name, unit, text = PINS
    yield from head(named := _named(name, unit) + "_total", "counter", text)
    for labels, total in counted:
        for reason, number in sorted(total.pins.items()):
            yield line(named, (*labels, (REASON, reason)), number)
    for each in HISTOGRAMS:
        yield from head(named := _named(each.name, each.unit), "histogram", each.text)
        for labels, total in counted:
            yield from _histogram(named, labels, total, each.field)


def _histogram(name: str, labels: Labels, total: Total, field: str) -> Iterator[str]:
    seen, below = total.times(field), 0
    for bound, inside in zip((*(f"{each:g}" for each in BOUNDS), "+Inf"), seen.counts, strict=True):
        below += inside
        yield line(name + "_bucket", (*labels, ("le", bound)), below)
    yield line(name + "_sum", labels, seen.total)
    yield line(name + "_count", labels, seen.count)


def _means(present: _Present) -> Iterator[str]:
    for each in MEANS:
        yield from head(named := _named(each.name, each.unit), "gauge", each.text)
        for labels, pools in present:
            if told := [pool.recent_means[each.field] for pool in pools if each.field in pool.recent_means]:
                yield line(named, labels, max(told))


def _one(name: str, text: str, value: float) -> Iterable[str]:
    return gauge(name, text, [((), value)])


def _named(name: str, unit: str) -> str:
    """As OpenTelemetry's own exporters put a name into Prometheus' words; units in braces are left out there."""
    return _PREFIX + name.replace(".", "_") + ("_seconds" if unit == "s" else "")
