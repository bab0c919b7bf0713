"""What is wrong with the fleet at one look."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from poolmgr.control.reporting.fleet import Fleet
from poolmgr.control.reporting.troubles import Trouble
from poolmgr.control.reporting.views import TargetView
from poolmgr.control.watching.differences import Since
from poolmgr.metrics.episodes import ECHOES, Sighting
from poolmgr.metrics.phrases import counted, phrase
from poolmgr.metrics.places import RoleView, who_is_full

#: Connections that are lost at once. One alone was idle for too long for a firewall.
_AT_ONCE = 2


def sightings(fleet: Fleet, since: Mapping[str, Since] | None) -> Iterator[Sighting]:
    """All that is wrong; ``since`` is what was lately since the last look, None at the first."""
    yield from _of_the_fleet(fleet)
    for view in fleet.targets:
        if not view.processes:
            continue
        lately = since.get(view.target, Since()) if since is not None else None
        if view.of_pools.code not in ECHOES:
            yield _of_pools(view, fleet, lately)
        yield from _of_the_check(view)
        if lately is not None and lately.lost >= _AT_ONCE:
            yield _of_lost(view, lately)


def _of_pools(view: TargetView, fleet: Fleet, lately: Since | None) -> Sighting:
    verdict = view.of_pools
    role = next((role for role in view.roles if role.full), None)
    # At the first look nobody knows which of the last minute are of this episode; later ones add up.
    worst = {"waiting": view.pending, "longest_wait": view.oldest_wait, **_fullness(role)}
    if lately is None:
        worst["failed"] = view.timeouts
    return Sighting(
        view.target,
        verdict.code,
        verdict.state,
        verdict.sentence,
        since=_began(view, fleet),
        until=view.last_timeout_at if verdict.code == "exhausted" and not view.pending else 0.0,
        worst={name: value for name, value in worst.items() if value},
        counts={"failed": lately.failed} if lately and lately.failed else {},
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
    yield Sighting(view.target, code, check.state, check.sentence, since=check.at.timestamp(), worst=used)


def _of_lost(view: TargetView, lately: Since) -> Sighting:
    return Sighting(
        view.target,
        "connections_lost",
        "warning",
        _broke(lately),
        worst={"processes": lately.losers},
        counts={"lost": lately.lost},
        over=True,
    )


def _broke(since: Since) -> str:
    processes = counted(since.losers, "%(n)s process", "%(n)s processes")
    return counted(
        since.lost,
        "%(n)s connection broke at once in %(processes)s: the server was restarted, or it or somebody else ended it.",
        "%(n)s connections broke at once in %(processes)s: the server was restarted, or it or somebody else ended them.",
        processes=processes,
    )


def _of_the_fleet(fleet: Fleet) -> Iterator[Sighting]:
    beats = fleet.processes
    if control := [beat.control_lost for beat in beats if beat.control_lost]:
        where = _where(control, len(beats))
        said = phrase("%(where)s can't use the control database.", where=where)
        yield _lost("control_lost", "critical", said, where, control)
    if store := [beat.store_lost for beat in beats if beat.store_lost]:
        where = _where(store, len(beats))
        said = phrase("%(where)s can't reach Redis.", where=where)
        yield _lost("store_lost", "warning", said, where, store)
    if fleet.unread:
        yield Sighting("", "unreadable", "warning", fleet.unread_error, worst={"processes": len(fleet.unread)})
    own = [each for each in fleet.troubles if each.code == "trouble"]
    if own and not control and not store:
        yield Sighting("", "trouble", "warning", own[0].said)
    yield from (_of_processes(each) for each in fleet.troubles if each.code != "trouble")


def _of_processes(trouble: Trouble) -> Sighting:
    worst = {"processes": len(trouble.processes), "no_thread": trouble.waiting}
    return Sighting(
        "",
        trouble.code,
        trouble.state,
        trouble.said,
        since=trouble.since,
        worst={name: number for name, number in worst.items() if number},
        where=", ".join(trouble.processes)[:200],
    )


def _where(times: list[float], processes: int) -> str:
    return counted(processes, "%(lost)s of %(n)s process", "%(lost)s of %(n)s processes", lost=len(times))


def _lost(code: str, state: str, said: str, where: str, times: list[float]) -> Sighting:
    return Sighting("", code, state, said, since=min(times), worst={"processes": len(times)}, where=where)
