"""Cancelling a statement and ending a session of one checkout: asked on one page, done by POST, and written down."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.utils.translation import gettext as _
from django.views.decorators.csrf import csrf_protect
from django.views.decorators.http import require_http_methods
from msgspec.structs import replace

from poolmgr.control.commanding.acting import act_on
from poolmgr.control.inquiry import What
from poolmgr.control.reporting.spoken import spoken
from poolmgr.dashboard.acting.holders import Found, Place, apart, find, told
from poolmgr.dashboard.entry.access import END_SESSIONS, VIEW, lacking, may_read_statements, staff_only
from poolmgr.dashboard.entry.frame import frame, show


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
    assert found.beat is not None
    assert found.holder is not None
    place, author = found.place, request.user.get_username()
    done, said = act_on(what, found.beat, place.target, replace(found.holder, checkout=place.checkout), author)
    if done:
        words = {What.CANCEL: _("Its statement was cancelled."), What.END: _("Its session was ended.")}
        messages.success(request, words[what])
    else:
        messages.warning(request, _("Nothing is known to have been done: %(why)s") % {"why": spoken(said)})


def _words(what: What) -> tuple[str, str]:
    """The question and the button."""
    if what is What.CANCEL:
        return _("Cancel this statement?"), _("Cancel the statement")
    return _("End this session?"), _("End the session")
