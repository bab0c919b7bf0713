"""The documents that are read."""

from __future__ import annotations

from collections.abc import Callable
from time import time
from typing import Any

from django.db import DatabaseError
from django.db.models import prefetch_related_objects
from django.http import HttpRequest

from poolmgr.conf import ROLES
from poolmgr.control.access import control_alias
from poolmgr.control.commanding import commands as ordered
from poolmgr.control.reach import lost, outage
from poolmgr.control.reporting.documents import happened, holders, orders, processes, targets, uses, why
from poolmgr.control.reporting.past import past, targets_with_past
from poolmgr.control.reporting.told import as_document
from poolmgr.control.watching import log, records
from poolmgr.dashboard.acting.holders import Place, find
from poolmgr.dashboard.api.answers import Refused, need
from poolmgr.dashboard.api.entry import Reader
from poolmgr.dashboard.entry import queries
from poolmgr.dashboard.entry.access import READ_STATEMENTS
from poolmgr.dashboard.entry.asked import BadQuery, asked
from poolmgr.dashboard.past.marks import as_dict, marks
from poolmgr.dashboard.reading.picture import read_now
from poolmgr.models import Episode

#: Orders that are listed.
_ORDERS = 50
EVENTS, COMMANDS = "poolmgr.view_event", "poolmgr.view_command"

Told = dict[str, Any]


def status(request: HttpRequest, reader: Reader) -> Told:
    queries.known(request.GET, ())
    fleet, away = read_now(looked_at=True)
    return targets.status(fleet, outage=away)


def target(request: HttpRequest, reader: Reader, target: str) -> Told:
    queries.known(request.GET, ())
    fleet, away = read_now(looked_at=True)
    return targets.one(fleet, target, reader.statements, away)


def why_so(request: HttpRequest, reader: Reader, target: str) -> Told:
    queries.known(request.GET, ())
    fleet, away = read_now(looked_at=True)
    going_on: tuple[Episode, ...] | None = None
    if reader.events and away is None:
        try:
            going_on = records.going_on()
        except DatabaseError as error:
            lost(control_alias(), error)
    return why.why(fleet, target, going_on, reader.statements, away)


def held(request: HttpRequest, reader: Reader) -> Told:
    queries.known(request.GET, ("target", "limit", "after"))
    named, page = queries.text(request.GET, "target"), queries.part(request.GET, holders.KEY)
    fleet, away = read_now()
    return holders.holders(fleet, named, reader.statements, away, page)


def used(request: HttpRequest, reader: Reader) -> Told:
    queries.known(request.GET, ("target",))
    fleet, away = read_now()
    return uses.uses(fleet, queries.text(request.GET, "target"), away)


def holder(request: HttpRequest, reader: Reader, uid: str, target: str, checkout: str) -> Told:
    queries.known(request.GET, ("stack",))
    stack = queries.flag(request.GET, "stack")
    need(reader.statements or not stack, READ_STATEMENTS)
    found = find(Place(uid, target, checkout))
    if found.answer is None:
        raise Refused(found.why, 404 if found.gone or found.state == "ok" else 503)
    look = holders.Look(found.beat, uid, target, found.answer, found.live, found.why)
    return holders.checkout(look, reader.statements, stack)


def all_processes(request: HttpRequest, reader: Reader) -> Told:
    queries.known(request.GET, ("target", "role", "limit", "after"))
    page = queries.part(request.GET, processes.KEY)
    named, role = queries.text(request.GET, "target"), queries.choice(request.GET, "role", ROLES)
    fleet, away = read_now(details=False)
    return processes.processes(fleet, named, role, away, page)


def process(request: HttpRequest, reader: Reader, uid: str) -> Told:
    queries.known(request.GET, ())
    fleet, away = read_now()
    return processes.one(fleet, uid, reader.statements, reader.commands, away)


def events(request: HttpRequest, reader: Reader) -> Told:
    need(reader.events, EVENTS)
    queries.known(request.GET, queries.SEARCH)
    wanted, number = queries.search(request.GET), queries.page(request.GET)
    found = _rows(lambda: log.search(wanted, number))
    return happened.page(number, found.more, found.rows)


def episodes(request: HttpRequest, reader: Reader) -> Told:
    need(reader.events, EVENTS)
    queries.known(request.GET, ("target", "state", "q", "from", "to", "page"))
    wanted, number = queries.search(request.GET), queries.page(request.GET)
    found = _rows(lambda: log.episodes(wanted, number))
    told = [happened.episode(row) for row in found.rows if isinstance(row, Episode)]
    return {"page": number, "more": found.more, "episodes": told}


def history(request: HttpRequest, reader: Reader, target: str) -> Told:
    queries.known(request.GET, ("range", "from", "to", "role"))
    targets = _rows(targets_with_past)
    if target not in targets:
        raise LookupError(f"there is no target {target!r}; there are {', '.join(targets)}")
    try:
        wanted = asked({**request.GET.dict(), "target": target}, targets, time())
    except BadQuery as error:
        raise Refused(str(error)) from None
    place = (wanted.target, wanted.begin, wanted.end)
    found = [as_dict(each) for each in marks(*place)] if reader.events else None
    return {**as_document(past(*place, wanted.role)), "marks": found}


def commands(request: HttpRequest, reader: Reader) -> Told:
    need(reader.commands, COMMANDS)
    queries.known(request.GET, ("target",))
    named = queries.text(request.GET, "target")
    return {"commands": _rows(lambda: _ordered(named))}


def _ordered(target: str) -> list[Told]:
    found = ordered.recent(target or None, _ORDERS)
    prefetch_related_objects(found, "acknowledgements")
    return [orders.command(each, each.acknowledgements.all()) for each in found]


def _rows(read: Callable[[], Any]) -> Any:
    """What can be read of the control database alone. Raises ``Refused`` while that is away."""
    gone = outage(control_alias())
    if gone is None:
        return read()
    raise Refused(f"{gone.sentence} This is kept there alone.", 503)
