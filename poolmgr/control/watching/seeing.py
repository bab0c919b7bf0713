"""What is wrong with the fleet at one look."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from poolmgr.control.reporting.fleet import Fleet
from poolmgr.control.reporting.views import TargetView
from poolmgr.control.watching.differences import Since
from poolmgr.metrics.episodes import ECHOES, Sighting
from poolmgr.metrics.places import RoleView, who_is_full
from poolmgr.metrics.words import count

#: Connections that are lost at once. One alone was idle for too long for a firewall.
_AT_ONCE = 2


def sightings(fleet: Fleet, since: Mapping[str, Since] | None) -> Iterator[Sighting]:
    """All that is wrong; ``since`` is what was counted since the last look, None at the first."""
    yield from _of_the_fleet(fleet)
    for view in fleet.targets:
        if not view.processes:
            continue
        counted = since.get(view.target, Since()) if since is not None else None
        if view.of_pools.code not in ECHOES:
            yield _of_pools(view, fleet, counted)
        yield from _of_the_check(view)
        if counted is not None and counted.lost >= _AT_ONCE:
            yield _of_lost(view, counted)


def _of_pools(view: TargetView, fleet: Fleet, counted: Since | None) -> Sighting:
    verdict = view.of_pools
    role = next((role for role in view.roles if role.full), None)
    # At the first look nobody knows which of the last minute are of this episode; later ones add up.
    worst = {"waiting": view.pending, "longest_wait": view.oldest_wait, **_fullness(role)}
    if counted is None:
        worst["failed"] = view.timeouts
    return Sighting(
        view.target,
        verdict.code,
        verdict.state,
        verdict.sentence,
        since=_began(view, fleet),
        until=view.last_timeout_at if verdict.code == "exhausted" and not view.pending else 0.0,
        worst={name: value for name, value in worst.items() if value},
        counts={"failed": counted.failed} if counted and counted.failed else {},
        where=who_is_full(role) if role else "",
    )


def _fullness(role: RoleView | None) -> dict[str, float]:
    return {"full": len(role.full), "of": len(role.places)} if role else {}


def _began(view: TargetView, fleet: Fleet) -> float:
    """Where it is known: since when somebody waits, or it is paused."""
    if view.of_pools.code == "paused":
        pools = (pool for beat in fleet.processes for pool in beat.pools if pool.target == view.target)
        return min((pool.paused_at for pool in pools if pool.paused_at), default=0.0)
    return fleet.at - view.oldest_wait if view.oldest_wait else 0.0


def _of_the_check(view: TargetView) -> Iterator[Sighting]:
    check = view.last_health
    if check is None or not view.health_fresh or check.state == "ok":
        return
    # No connection at all is what pools that can't connect say too.
    code = "unreachable" if check.state == "critical" and check.connect_time is None else "server"
    used = {"server_used": check.server_used} if check.server_used else {}
    yield Sighting(view.target, code, check.state, check.message, since=check.at.timestamp(), worst=used)


def _of_lost(view: TargetView, counted: Since) -> Sighting:
    connections = count(counted.lost, "connection", "connections")
    processes = count(counted.losers, "process", "processes")
    return Sighting(
        view.target,
        "connections_lost",
        "warning",
        f"{connections} broke at once in {processes}: the server was restarted, or it or somebody else ended them.",
        worst={"processes": counted.losers},
        counts={"lost": counted.lost},
        over=True,
    )


def _of_the_fleet(fleet: Fleet) -> Iterator[Sighting]:
    beats = fleet.processes
    if control := [beat.control_lost for beat in beats if beat.control_lost]:
        yield _lost("control_lost", "critical", "can't use the control database", control, len(beats))
    if store := [beat.store_lost for beat in beats if beat.store_lost]:
        yield _lost("store_lost", "warning", "can't reach Redis", store, len(beats))
    if fleet.unread:
        yield Sighting("", "unreadable", "warning", fleet.unread_error, worst={"processes": len(fleet.unread)})
    if fleet.troubles and not control and not store:
        yield Sighting("", "trouble", "warning", str(fleet.troubles[0]))


def _lost(code: str, state: str, what: str, times: list[float], processes: int) -> Sighting:
    where = f"{len(times)} of {count(processes, 'process', 'processes')}"
    return Sighting("", code, state, f"{where} {what}.", since=min(times), worst={"processes": len(times)}, where=where)
