"""Cancelling a statement and ending a session of one checkout: asked on one page, done by POST, and written down."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.utils.translation import gettext as _
from django.views.decorators.csrf import csrf_protect
from django.views.decorators.http import require_http_methods

from poolmgr.control.access import control_alias
from poolmgr.control.commanding.asking import ask
from poolmgr.control.events import record
from poolmgr.control.inquiry import Answer, What
from poolmgr.control.store import StoreDown
from poolmgr.dashboard.access import END_SESSIONS, VIEW, lacking, may_read_statements, staff_only
from poolmgr.dashboard.frame import frame, show
from poolmgr.dashboard.holders import Found, Place, apart, find, told
from poolmgr.exceptions import ConfigurationError
from poolmgr.metrics.decoding import Unreadable
from poolmgr.models import Event

_DONE = {What.CANCEL: "cancelled", What.END: "ended"}
#: In the audit log.
_ORDERED = {What.CANCEL: "cancel the statement of", What.END: "end the session of"}
_LONGEST_WHO = 300


@apart
@require_http_methods(["GET", "HEAD", "POST"])
@csrf_protect
@staff_only(END_SESSIONS)
def order(request: HttpRequest, uid: str, target: str, checkout: str, order: str) -> HttpResponse:
    if not request.user.has_perm(VIEW):
        return lacking(request, VIEW)
    what, found = What(order), find(Place(uid, target, checkout))
    shown = told(found, may_read_statements(request))
    if not found.live or shown["denied"][what.value]:
        return _refuse(request, found, shown["denied"][what.value] or found.why)
    if request.method == "POST":
        _carry_out(request, what, found)
        return redirect(found.place.address)
    question, button = _words(what)
    context: dict[str, Any] = {**frame(request), **shown, "title": question, "button": button, "order": what.value}
    return show(request, "poolmgr/ending.html", context)


def _refuse(request: HttpRequest, found: Found, reason: str) -> HttpResponse:
    context = {**frame(request), "title": _("Nothing was ordered"), "reason": reason, "back": True}
    return show(request, "poolmgr/denied.html", context, status=409 if found.state == "ok" else 400)


def _carry_out(request: HttpRequest, what: What, found: Found) -> None:
    """Written down before anything is done, and again with what became of it."""
    place, beat, author = found.place, found.beat, request.user.get_username()
    assert beat is not None
    assert found.holder is not None
    who = f"{found.holder.who[:_LONGEST_WHO]} at {place.target} in {beat.host}:{beat.pid}"
    event = record(Event.Kind.COMMAND, place.target, author, f"{_ORDERED[what]} {who}")
    try:
        answer, trouble = ask(beat, what, place.target, place.checkout, author), ""
    except (StoreDown, ConfigurationError, Unreadable) as error:
        answer, trouble = None, str(error)
    said = _outcome(what, answer, trouble)
    event.message = f"{event.message}: {said}"[:500]
    event.save(using=control_alias(), update_fields=["message"])
    if answer is not None and answer.done:
        done = {What.CANCEL: _("Its statement was cancelled."), What.END: _("Its session was ended.")}
        messages.success(request, done[what])
    else:
        messages.warning(request, _("Nothing is known to have been done: %(why)s") % {"why": said})


def _outcome(what: What, answer: Answer | None, trouble: str) -> str:
    if answer is None:
        return trouble or "its process has not answered in time"
    if answer.done:
        return _DONE[what]
    return answer.why or "it was over by then, and nobody else was touched"


def _words(what: What) -> tuple[str, str]:
    """The question and the button."""
    if what is What.CANCEL:
        return _("Cancel this statement?"), _("Cancel the statement")
    return _("End this session?"), _("End the session")
