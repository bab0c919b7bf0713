"""Orders: as the dashboard's, with the same permissions, refusals and log."""

from __future__ import annotations

import json
from typing import Any

from django.http import HttpRequest
from msgspec.structs import replace

from poolmgr.control.commanding import commands
from poolmgr.control.commanding.acting import act_on
from poolmgr.control.inquiry import What
from poolmgr.control.reporting.documents import orders
from poolmgr.control.reporting.fleet import read_fleet
from poolmgr.dashboard.acting.actions import Nonsense, understood
from poolmgr.dashboard.acting.holders import Found, Place, find, told
from poolmgr.dashboard.api.answers import Refused, need
from poolmgr.dashboard.api.entry import Reader
from poolmgr.dashboard.entry.access import CHANGE, CUT_OFF, END_SESSIONS, may_act, may_cut_off, may_end_sessions
from poolmgr.dashboard.entry.queries import BadQuery, refused
from poolmgr.lookon.admission import looks_on
from poolmgr.models import Command

_OF_HOLDERS = (What.CANCEL.value, What.END.value)
_KINDS = (*Command.Kind.values, *_OF_HOLDERS)
_KEYS = ("kind", "target", "process", "database", "checkout")
_ACCEPTED = 202


def command(request: HttpRequest, reader: Reader) -> tuple[int, dict[str, Any]]:
    if looks_on(request):
        raise Refused("You may look on, as you could before. This has to wait.", 503)
    given = _given(request)
    kind = given.get("kind", "")
    if kind not in _KINDS:
        raise refused("kind", kind, f"one of {', '.join(_KINDS)}")
    if kind in _OF_HOLDERS:
        need(may_end_sessions(request), END_SESSIONS)
        return 200, _on_holder(request, What(kind), given)
    need(may_act(request), CHANGE)
    if kind in Command.CUTS:
        need(may_cut_off(request), CUT_OFF)
    return _ACCEPTED, _to_pools(request, given)


def _to_pools(request: HttpRequest, given: dict[str, str]) -> dict[str, Any]:
    if given.get("checkout"):
        raise refused("checkout", given["checkout"], "left out: the pools of a target are ordered as a whole")
    try:
        order = understood(given, read_fleet())
    except Nonsense as nonsense:
        raise Refused(str(nonsense)) from None
    author = request.user.get_username()
    return orders.command(commands.send(order.kind, order.target, author, order.process, order.database))


def _on_holder(request: HttpRequest, what: What, given: dict[str, str]) -> dict[str, Any]:
    missing = next((key for key in ("target", "process", "checkout") if not given.get(key)), "")
    if missing:
        raise refused(missing, "", "what “holders” has for the one that is meant")
    found = find(Place(given["process"], given["target"], given["checkout"]))
    if denied := told(found, statements=False)["denied"][what.value]:
        raise Refused(denied)
    if not found.live:
        raise Refused(found.why, 409 if found.state == "ok" else 404 if found.gone else 503)
    return _acted(request.user.get_username(), what, found)


def _acted(author: str, what: What, found: Found) -> dict[str, Any]:
    assert found.beat is not None
    assert found.holder is not None
    place = found.place
    done, said = act_on(what, found.beat, place.target, replace(found.holder, checkout=place.checkout), author)
    return orders.outcome(what.value, place.target, place.checkout, author, done, said)


def _given(request: HttpRequest) -> dict[str, str]:
    """The fields of a form, or of an object in JSON; texts all of them."""
    if request.content_type == "application/json":
        try:
            found: Any = json.loads(request.body)
        except ValueError:
            raise BadQuery("The body is no JSON.") from None
        if not isinstance(found, dict):
            raise BadQuery(f"The body must be an object with the keys {', '.join(_KEYS)}.")
    else:
        found = request.POST.dict()
        found.pop("csrfmiddlewaretoken", None)
    for key, value in found.items():
        if key not in _KEYS:
            raise BadQuery(f"There is no key “{str(key)[:200]}”; there are: {', '.join(_KEYS)}.")
        if not isinstance(value, str) or len(value) > 200 or not value.isprintable():
            raise refused(key, str(value), "a text of 200 printable characters at most")
    return dict(found)
