"""The fleet in Prometheus' text format, under OpenTelemetry's names for database client pools.

One page tells of the whole fleet, so one scrape target is enough. Its series are those of a target and a role: what was
counted comes from the store's totals, since a sum over live processes falls whenever one ends, which ``rate()`` takes for a
reset of the whole.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain

from poolmgr.conf import ROLES
from poolmgr.control.reporting.fleet import Fleet
from poolmgr.metrics.histogram import BOUNDS
from poolmgr.metrics.snapshot import PoolSnapshot
from poolmgr.metrics.totals import Total, sums_of
from poolmgr.targets.known import kind_named

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_STATES = {"ok": 0, "warning": 1, "critical": 2, "unknown": 3}
_PREFIX = "db_client_connection_"
_TARGET = "db_client_connection_pool_name"

_Labels = tuple[tuple[str, str], ...]
#: The pools that make one series of a gauge.
_Present = Sequence[tuple[_Labels, Sequence[PoolSnapshot]]]
_Counted = Sequence[tuple[_Labels, Total]]

_GAUGES: tuple[tuple[str, str, Callable[[Iterable[float]], float], Callable[[PoolSnapshot], float]], ...] = (
    ("idle_min", "The fewest connections that are kept warm.", sum, lambda pool: pool.min_size),
    ("idle_max", "The most idle connections allowed.", sum, lambda pool: pool.limit),
    ("max", "The most connections that the pools may hold now.", sum, lambda pool: pool.limit),
    ("pending_requests", "Requests that wait for a connection.", sum, lambda pool: pool.pending),
    ("oldest_wait_seconds", "How long the first of those who wait has waited.", max, lambda pool: pool.oldest_wait),
    ("closing", "Connections given up and not yet gone from the server.", sum, lambda pool: pool.closing),
)
#: The name of a series, what it says, and what it is called in a total.
_COUNTERS = (
    ("checkouts_total", "Checkouts that got a connection.", "checkouts"),
    ("checkout_errors_total", "Checkouts that failed by something else than their timeout.", "checkout_errors"),
    ("timeouts_total", "Checkouts that found no connection in time.", "timeouts"),
    ("refused_transactions_total", "Transactions that statement mode refused.", "refused"),
    ("created_total", "Connections opened.", "created"),
    ("create_errors_total", "Connects that failed.", "create_errors"),
    ("closed_total", "Connections closed.", "closed"),
    ("found_dead_total", "Connections found dead before a checkout.", "found_dead"),
    ("left_behind_total", "Connections not seen to go from the server in time.", "left_behind"),
    ("cleaned_total", "Connections cleaned of session state.", "cleaned"),
    ("reclaimed_total", "Connections whose thread ended or outlived its request.", "reclaimed"),
    ("leaks_total", "Connections that were in use for longer than leak_threshold.", "leaks"),
)
_HISTOGRAMS = (
    ("wait_time_seconds", "From asking for a connection to getting it, or to the timeout.", "wait_time"),
    ("use_time_seconds", "From getting a connection to returning it.", "use_time"),
    ("create_time_seconds", "From the start of a connect to its end.", "create_time"),
)


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
        _targets(fleet),
        _processes(fleet, live),
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


def _of(target: str, role: str) -> _Labels:
    return ((_TARGET, target), ("role", role))


def _all_of(totals: Sequence[Total], live: dict[tuple[str, str], list[PoolSnapshot]]) -> _Counted:
    """Zeros, too, of pools that have counted nothing yet: a series should not begin with its first event."""
    found = {place: Total(*place, {}) for place, pools in live.items() if _counts_itself(pools[0])}
    found |= {(total.target, total.role): total for total in totals}
    return [(_of(*place), total) for place, total in sorted(found.items())]


def _counts_itself(pool: PoolSnapshot) -> bool:
    """Whether its every checkout is counted and timed; a server that keeps its own pools tells less."""
    return not kind_named(pool.kind).elsewhere


def _connections(present: _Present) -> Iterator[str]:
    yield from _head("count", "gauge", "Connections of the pools by state.")
    for labels, pools in present:
        for state in ("idle", "used"):
            number = sum(getattr(pool, state) for pool in pools)
            yield _line(_PREFIX + "count", (*labels, ("db_client_connection_state", state)), number)


def _gauges(present: _Present) -> Iterator[str]:
    for name, text, together, read in _GAUGES:
        yield from _head(name, "gauge", text)
        yield from (_line(_PREFIX + name, labels, together(map(read, pools))) for labels, pools in present)


def _counts(counted: _Counted) -> Iterator[str]:
    for name, text, field in _COUNTERS:
        yield from _head(name, "counter", text)
        yield from (_line(_PREFIX + name, labels, total.count(field)) for labels, total in counted)
    yield from _head("pins_total", "counter", "Returns of connections that session state had pinned, by reason.")
    for labels, total in counted:
        for reason, number in sorted(total.pins.items()):
            yield _line(_PREFIX + "pins_total", (*labels, ("reason", reason)), number)
    for name, text, field in _HISTOGRAMS:
        yield from _head(name, "histogram", text)
        for labels, total in counted:
            yield from _histogram(_PREFIX + name, labels, total, field)


def _histogram(name: str, labels: _Labels, total: Total, field: str) -> Iterator[str]:
    seen, below = total.times(field), 0
    for bound, inside in zip((*(f"{each:g}" for each in BOUNDS), "+Inf"), seen.counts, strict=True):
        below += inside
        yield _line(name + "_bucket", (*labels, ("le", bound)), below)
    yield _line(name + "_sum", labels, seen.total)
    yield _line(name + "_count", labels, seen.count)


def _means(present: _Present) -> Iterator[str]:
    for name, text in (("wait", "From asking for a connection to getting it"), ("use", "Of a transaction")):
        yield from _head(
            f"{name}_time_mean_seconds", "gauge", f"{text}: the mean of the last minute, where no more is told."
        )
        for labels, pools in present:
            if told := [pool.recent_means[name] for pool in pools if name in pool.recent_means]:
                yield _line(f"{_PREFIX}{name}_time_mean_seconds", labels, max(told))


def _targets(fleet: Fleet) -> Iterator[str]:
    yield from _about("poolmgr_target_info", "What the target is: its kind, and where it leads.")
    for view in fleet.targets:
        what = ((_TARGET, view.target), ("kind", view.kind), ("address", view.address))
        yield _line("poolmgr_target_info", what, 1)
    yield from _about("poolmgr_target_state", "The verdict: 0 ok, 1 warning, 2 critical, 3 unknown.")
    for view in fleet.targets:
        yield _line("poolmgr_target_state", ((_TARGET, view.target),), _STATES[view.verdict.state])


def _processes(fleet: Fleet, live: dict[tuple[str, str], list[PoolSnapshot]]) -> Iterator[str]:
    """Zeros of roles of which there is nobody: an alarm wants to see them."""
    yield from _about("poolmgr_processes", "Live processes that hold a pool to the target.")
    places = {(view.target, role) for view in fleet.targets for role in ROLES}
    for place in sorted(places | live.keys()):
        yield _line("poolmgr_processes", _of(*place), len(live.get(place, ())))


def _one(name: str, text: str, value: float) -> Iterator[str]:
    yield from _about(name, text)
    yield _line(name, (), value)


def _about(name: str, text: str) -> Iterable[str]:
    return (f"# HELP {name} {text}", f"# TYPE {name} gauge")


def _head(name: str, kind: str, text: str) -> Iterable[str]:
    return (f"# HELP {_PREFIX}{name} {text}", f"# TYPE {_PREFIX}{name} {kind}")


def _line(name: str, labels: _Labels, value: float) -> str:
    told = ",".join(f'{key}="{_escape(text)}"' for key, text in labels)
    return f"{name}{{{told}}} {value:.17g}"


def _escape(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
