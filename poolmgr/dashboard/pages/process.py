"""The page of one process: what it is, what its pools do and follow, who holds their connections, and what it lacks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from django.db import DatabaseError
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.views.decorators.http import require_safe

from poolmgr.control.access import control_alias
from poolmgr.control.reach import Outage, lost, outage
from poolmgr.control.reporting.advice import OF_PROCESSES
from poolmgr.control.reporting.fleet import Fleet
from poolmgr.control.reporting.spoken import spoken
from poolmgr.control.watching import log
from poolmgr.dashboard.addresses import target_address
from poolmgr.dashboard.drawing.slots import Row, row
from poolmgr.dashboard.entry.access import VIEW, may_act, may_read, may_read_statements, staff_only
from poolmgr.dashboard.entry.frame import frame, show
from poolmgr.dashboard.lines.blocking import blockers
from poolmgr.dashboard.lines.holderlines import holder_lines
from poolmgr.dashboard.lines.loglines import LogLine, log_lines
from poolmgr.dashboard.lines.rows import ProcessRow, process_row, standings
from poolmgr.dashboard.lines.wanted import Wanted
from poolmgr.dashboard.reading.picture import read_now
from poolmgr.dashboard.words.present import Figure, ago, duration, number, timed
from poolmgr.metrics.health import STATES
from poolmgr.metrics.phrases import as_phrase
from poolmgr.metrics.snapshot import PoolSnapshot, ProcessBeat
from poolmgr.pools.spec import plainly
from poolmgr.targets.known import kind_named

#: Events that name a process, of one that is gone; holders of one.
_EVENTS, _HOLDERS = 10, 200


@dataclass(frozen=True, slots=True)
class PoolPart:
    """One of its pools: ``row`` as a target's page has it; ``newest`` says that it follows the newest settings, None where
    nobody knows which those are."""

    target: str
    page: str
    address: str
    row: ProcessRow
    slots: Row
    wait: Figure
    newest: bool | None
    settings: tuple[tuple[str, str], ...]
    last_error: str
    denied: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class View:
    """Requests of one view that keep threads, for how long, and the line of code that the oldest is at."""

    name: str
    requests: str
    longest: str
    call: str


@require_safe
@staff_only(VIEW)
def process(request: HttpRequest, uid: str) -> HttpResponse:
    fleet, away = read_now(looked_at=True)
    beat = next((each for each in fleet.processes if each.uid == uid), None)
    if beat is None:
        return _gone(request, uid, fleet)
    context = {**frame(request), **_told(beat, fleet, away, may_read_statements(request))}
    context["may_act"] = away is None and may_act(request)
    if context["late"] and may_read(request, "event"):
        context["lines"] = _events(uid)
    return show(request, "poolmgr/process.html", context)


def _gone(request: HttpRequest, uid: str, fleet: Fleet) -> HttpResponse:
    why = fleet.why_unread(uid)
    said = _("It is gone, or has been silent for so long that it counts as gone.")
    if why:
        said = _("It lives, but its report can't be read: %(why)s.") % {"why": why}
    elif not fleet.store:
        said = _("Nothing of the fleet can be read now: %(error)s") % {"error": spoken(fleet.store_error)}
    context = {"title": _("Process"), "uid": uid, "gone": said, "known": bool(why) or not fleet.store}
    if may_read(request, "event"):
        context["lines"] = _events(uid)
    return show(request, "poolmgr/process.html", {**frame(request), **context}, 404)


def _events(uid: str) -> tuple[LogLine, ...]:
    """The last that name it, as far as they can be read."""
    if outage(control_alias()) is not None:
        return ()
    try:
        return log_lines(log.search(log.Search(text=uid), size=_EVENTS).rows)
    except DatabaseError as error:
        lost(control_alias(), error)
        return ()


def _told(beat: ProcessBeat, fleet: Fleet, away: Outage | None, statements: bool) -> dict[str, Any]:
    alone, wanted = replace(fleet, processes=(beat,)), Wanted(known=away is None)
    in_the_way = {view.target: blockers(view, fleet) for view in fleet.targets}
    pools = [_pool(pool, beat, alone, wanted, in_the_way.get(pool.target, {})) for pool in beat.pools]
    pools.sort(key=lambda part: (-STATES.index(part.row.state), part.target))
    worst = pools[0].row if pools else None
    return {
        "title": f"{beat.role} {beat.host}:{beat.pid}",
        "beat": beat,
        "uid": beat.uid,
        "state": worst.state if worst else "ok",
        "sentence": _sentence(pools),
        "late": any(part.row.late for part in pools),
        "started": _moment(beat.started),
        "up": duration(fleet.at - beat.started),
        "seen": ago(fleet.at - beat.at),
        "pools": pools,
        "longest": timed(max((pool.oldest_wait for pool in beat.pools), default=0.0) or None),
        "waiting": number(sum(pool.pending for pool in beat.pools)),
        "waits": any(pool.pending for pool in beat.pools),
        "holders": holder_lines(fleet.targets, alone, statements, _HOLDERS),
        "used": number(sum(pool.used for pool in beat.pools)),
        "lacks": tuple(_lacks(beat, fleet)),
        "troubles": [
            (each, spoken(each.said)) for each in fleet.troubles if each.code in OF_PROCESSES and beat.uid in each.uids
        ],
        "serving": beat.serving,
        "views": tuple(_views(beat, statements)),
        "control_away": spoken(away.sentence) if away else "",
        "at": _moment(fleet.at),
    }


def _views(beat: ProcessBeat, statements: bool) -> Iterator[View]:
    for each in beat.serving.views if beat.serving else ():
        yield View(each.name, number(each.number), duration(each.seconds), each.call if statements else "")


def _sentence(pools: list[PoolPart]) -> str:
    if not pools:
        return _("It has no pool open.")
    worst = pools[0]
    if len(pools) == 1:
        return worst.row.sentence
    return _("%(target)s: %(sentence)s") % {"target": worst.target, "sentence": worst.row.sentence}


def _pool(
    pool: PoolSnapshot, beat: ProcessBeat, alone: Fleet, wanted: Wanted, in_the_way: Mapping[int, str]
) -> PoolPart:
    [standing] = standings(pool.target, alone)
    found = process_row(standing, wanted, alone.at)
    expected = wanted.settings(pool.target, beat.role)
    settings = () if pool.digest else tuple((name, plainly(value)) for name, value in sorted(pool.settings.items()))
    return PoolPart(
        target=pool.target,
        page=target_address(pool.target),
        address=pool.address,
        row=found,
        slots=row(pool, in_the_way.keys()),
        wait=timed(pool.oldest_wait or None),
        newest=None if expected is None else not found.drift,
        settings=settings,
        last_error=spoken(as_phrase(pool.last_error)),
        denied={what: spoken(why) for what, why in kind_named(pool.kind).denies.items()},
    )


def _lacks(beat: ProcessBeat, fleet: Fleet) -> Iterator[str]:
    """What can't be read of it, what keeps it from following its settings, and what it finds away."""
    if why := fleet.why_unread(beat.uid):
        yield _("Its report can't all be read: %(why)s.") % {"why": why}
    yield from map(spoken, map(as_phrase, beat.problems))
    for since, said in (
        (beat.control_lost, _("It has found the control database away for %(time)s: edits and orders wait.")),
        (beat.store_lost, _("It has found Redis away for %(time)s: it hears of edits and orders at its next poll.")),
    ):
        if since:
            yield said % {"time": duration(fleet.at - since)}


def _moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, tz=timezone.get_current_timezone())
