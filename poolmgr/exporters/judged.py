"""What the fleet as a whole says of targets, servers and processes, for Prometheus: no process knows it by itself."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain

from poolmgr.conf import ROLES
from poolmgr.control.reporting.fleet import Fleet
from poolmgr.control.reporting.views import TargetView
from poolmgr.exporters.names import TARGET
from poolmgr.exporters.text import Labels, gauge
from poolmgr.metrics.health import Checked
from poolmgr.metrics.snapshot import PoolSnapshot

POOL = TARGET.replace(".", "_")
_STATES = {"ok": 0, "warning": 1, "critical": 2, "unknown": 3}
_SAID = "0 ok, 1 warning, 2 critical, 3 unknown"

#: The live pools of a target in the processes of a role.
Live = Mapping[tuple[str, str], Sequence[PoolSnapshot]]


def of(target: str, *more: tuple[str, str]) -> Labels:
    return ((POOL, target), *more)


def judged(fleet: Fleet, live: Live) -> Iterable[str]:
    """Of targets and servers by target, of processes by role too: zeros where there is nobody, for an alarm to see."""
    return chain(_targets(fleet.targets), _budgets(live), _processes(fleet, live), _servers(fleet.targets))


def _targets(views: Sequence[TargetView]) -> Iterator[str]:
    yield from gauge(
        "poolmgr_target_info",
        "What the target is: its kind, and where it leads.",
        ((of(view.target, ("kind", view.kind), ("address", view.address)), 1) for view in views),
    )
    yield from gauge(
        "poolmgr_target_state",
        f"The verdict: {_SAID}.",
        ((of(view.target), _STATES[view.verdict.state]) for view in views),
    )
    yield from gauge(
        "poolmgr_target_verdict",
        f"The verdict on the pools alone, by its name: {_SAID}.",
        ((of(view.target, ("code", view.of_pools.code or "none")), _STATES[view.of_pools.state]) for view in views),
    )


def _budgets(live: Live) -> Iterator[str]:
    budgets: dict[str, list[float]] = {}
    for (target, _), pools in sorted(live.items()):
        budgets.setdefault(target, []).extend(filter(None, (pool.number("budget") for pool in pools)))
    yield from gauge(
        "poolmgr_target_budget",
        "The most connections that the fleet may hold together, where there is a budget.",
        ((of(target), min(found)) for target, found in budgets.items() if found),
    )


def _processes(fleet: Fleet, live: Live) -> Iterator[str]:
    full = {(view.target, role.role): len(role.full) for view in fleet.targets for role in view.roles}
    places = sorted({(view.target, role) for view in fleet.targets for role in ROLES} | live.keys())
    yield from gauge(
        "poolmgr_processes",
        "Live processes that hold a pool to the target.",
        ((of(target, ("role", role)), len(live.get((target, role), ()))) for target, role in places),
    )
    yield from gauge(
        "poolmgr_full_processes",
        "Live processes whose every connection is in use.",
        ((of(target, ("role", role)), full.get((target, role), 0)) for target, role in places),
    )
    yield from gauge(
        "poolmgr_processes_not_following",
        "Live processes that don't follow the newest settings yet.",
        ((of(view.target), view.applied[1] - view.applied[0]) for view in fleet.targets),
    )


def _servers(views: Sequence[TargetView]) -> Iterator[str]:
    """As the last check found them, as long as it still says something."""
    checks = [
        (of(view.target), view.last_health) for view in views if view.last_health is not None and view.health_fresh
    ]
    yield from gauge(
        "poolmgr_server_state",
        f"What the last health check found: {_SAID}.",
        ((labels, _STATES[check.state]) for labels, check in checks),
    )
    yield from gauge(
        "poolmgr_server_slots_used",
        "Connections at the server, whosever they are.",
        ((labels, check.server_used) for labels, check in checks if check.server_used is not None),
    )
    yield from gauge(
        "poolmgr_server_slots_ours",
        "Connections at the server that are the fleet's.",
        ((labels, check.ours) for labels, check in checks if check.ours is not None),
    )
    yield from gauge(
        "poolmgr_server_slots",
        "Connections that the server has for us and others, without those that it reserves.",
        ((labels, room) for labels, check in checks if (room := _room(check)) > 0),
    )


def _room(check: Checked) -> int:
    return (check.server_max or 0) - (check.server_reserved or 0)
