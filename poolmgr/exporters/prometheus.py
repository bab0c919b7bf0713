"""The fleet in Prometheus' text format, under OpenTelemetry's names for database client pools.

One page tells of every process, so one scrape target is enough. Each process has its own series: a sum over processes
would fall whenever one restarts, which ``rate()`` takes for a reset of the whole.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import chain

from poolmgr.control.reporting.fleet import Fleet
from poolmgr.metrics.histogram import BOUNDS, Distribution
from poolmgr.metrics.snapshot import PoolSnapshot
from poolmgr.targets.known import kind_named

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_STATES = {"ok": 0, "warning": 1, "critical": 2, "unknown": 3}
_PREFIX = "db_client_connection_"
_TARGET = "db_client_connection_pool_name"

_Labels = tuple[tuple[str, str], ...]
_Pools = tuple[tuple[_Labels, PoolSnapshot], ...]

_GAUGES: tuple[tuple[str, str, Callable[[PoolSnapshot], float]], ...] = (
    ("idle_min", "The fewest connections that are kept warm.", lambda pool: pool.min_size),
    ("idle_max", "The most idle connections allowed.", lambda pool: pool.limit),
    ("max", "The most connections that the pool may hold now.", lambda pool: pool.limit),
    ("pending_requests", "Requests that wait for a connection.", lambda pool: pool.pending),
    ("oldest_wait_seconds", "How long the first of those who wait has waited.", lambda pool: pool.oldest_wait),
    ("closing", "Connections given up and not yet gone from the server.", lambda pool: pool.closing),
)
_COUNTERS: tuple[tuple[str, str, Callable[[PoolSnapshot], float]], ...] = (
    ("timeouts_total", "Checkouts that found no connection in time.", lambda pool: pool.timeouts),
    ("refused_transactions_total", "Transactions that statement mode refused.", lambda pool: pool.refused),
    ("created_total", "Connections opened.", lambda pool: pool.created),
    ("create_errors_total", "Connects that failed.", lambda pool: pool.create_errors),
    ("closed_total", "Connections closed.", lambda pool: pool.closed),
    ("found_dead_total", "Connections found dead before a checkout.", lambda pool: pool.found_dead),
    ("left_behind_total", "Connections not seen to go from the server in time.", lambda pool: pool.left_behind),
    ("cleaned_total", "Connections cleaned of session state.", lambda pool: pool.cleaned),
    ("reclaimed_total", "Connections whose thread ended or outlived its request.", lambda pool: pool.reclaimed),
)
_HISTOGRAMS: tuple[tuple[str, str, Callable[[PoolSnapshot], Distribution]], ...] = (
    (
        "wait_time_seconds",
        "From asking for a connection to getting it, or to the timeout.",
        lambda pool: pool.wait_time,
    ),
    ("use_time_seconds", "From getting a connection to returning it.", lambda pool: pool.use_time),
    ("create_time_seconds", "From the start of a connect to its end.", lambda pool: pool.create_time),
)


def render(fleet: Fleet, control_up: bool = True) -> str:
    """The page for one scrape. Without ``control_up``, the verdicts are the pools' alone: no check of a server is known."""
    pools: _Pools = tuple(
        (
            (
                (_TARGET, pool.target),
                ("role", beat.role),
                ("process", f"{beat.host}:{beat.pid}"),
            ),
            pool,
        )
        for beat in fleet.processes
        for pool in beat.pools
    )
    sections = (
        _connections(pools),
        _figures(pools),
        _distributions(_told(pools)),
        _means(pools),
        _targets(fleet),
        _control(control_up),
        ("",),
    )
    return "\n".join(chain.from_iterable(sections))


def _told(pools: _Pools) -> _Pools:
    """Those whose every checkout is counted and timed; a server that keeps its own pools tells less."""
    return tuple((labels, pool) for labels, pool in pools if not kind_named(pool.kind).elsewhere)


def _connections(pools: _Pools) -> Iterator[str]:
    yield from _head("count", "gauge", "Connections of the pool by state.")
    for labels, pool in pools:
        for state, number in (("idle", pool.idle), ("used", pool.used)):
            yield _line(_PREFIX + "count", (*labels, ("db_client_connection_state", state)), number)


def _figures(pools: _Pools) -> Iterator[str]:
    for kind, figures in (("gauge", _GAUGES), ("counter", _COUNTERS)):
        for name, text, read in figures:
            yield from _head(name, kind, text)
            of = pools if kind == "gauge" else _told(pools)
            yield from (_line(_PREFIX + name, labels, read(pool)) for labels, pool in of)
    yield from _head("pins_total", "counter", "Returns of connections that session state had pinned, by reason.")
    for labels, pool in pools:
        for reason, number in sorted(pool.pins.items()):
            yield _line(_PREFIX + "pins_total", (*labels, ("reason", reason)), number)


def _distributions(pools: _Pools) -> Iterator[str]:
    for name, text, read in _HISTOGRAMS:
        yield from _head(name, "histogram", text)
        for labels, pool in pools:
            seen, below = read(pool), 0
            for bound, inside in zip((*(f"{each:g}" for each in BOUNDS), "+Inf"), seen.counts, strict=True):
                below += inside
                yield _line(_PREFIX + name + "_bucket", (*labels, ("le", bound)), below)
            yield _line(_PREFIX + name + "_sum", labels, seen.total)
            yield _line(_PREFIX + name + "_count", labels, seen.count)


def _means(pools: _Pools) -> Iterator[str]:
    for name, text in (("wait", "From asking for a connection to getting it"), ("use", "Of a transaction")):
        yield from _head(
            f"{name}_time_mean_seconds", "gauge", f"{text}: the mean of the last minute, where no more is told."
        )
        for labels, pool in pools:
            if name in pool.recent_means:
                yield _line(f"{_PREFIX}{name}_time_mean_seconds", labels, pool.recent_means[name])


def _targets(fleet: Fleet) -> Iterator[str]:
    yield "# HELP poolmgr_target_info What the target is: its kind, and where it leads."
    yield "# TYPE poolmgr_target_info gauge"
    for view in fleet.targets:
        what = ((_TARGET, view.target), ("kind", view.kind), ("address", view.address))
        yield _line("poolmgr_target_info", what, 1)
    yield "# HELP poolmgr_target_state The verdict: 0 ok, 1 warning, 2 critical, 3 unknown."
    yield "# TYPE poolmgr_target_state gauge"
    for view in fleet.targets:
        yield _line("poolmgr_target_state", ((_TARGET, view.target),), _STATES[view.verdict.state])
    yield "# HELP poolmgr_processes Live processes that hold a pool to the target."
    yield "# TYPE poolmgr_processes gauge"
    for view in fleet.targets:
        yield _line("poolmgr_processes", ((_TARGET, view.target),), view.processes)
    yield "# HELP poolmgr_unread_processes Live processes whose heartbeats can't be read."
    yield "# TYPE poolmgr_unread_processes gauge"
    yield _line("poolmgr_unread_processes", (), len(fleet.unread))


def _control(up: bool) -> Iterator[str]:
    yield "# HELP poolmgr_control_up Whether the control database answers; without it nobody checks servers or changes pools."
    yield "# TYPE poolmgr_control_up gauge"
    yield _line("poolmgr_control_up", (), up)


def _head(name: str, kind: str, text: str) -> Iterable[str]:
    return (f"# HELP {_PREFIX}{name} {text}", f"# TYPE {_PREFIX}{name} {kind}")


def _line(name: str, labels: _Labels, value: float) -> str:
    told = ",".join(f'{key}="{_escape(text)}"' for key, text in labels)
    return f"{name}{{{told}}} {value:.17g}"


def _escape(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
