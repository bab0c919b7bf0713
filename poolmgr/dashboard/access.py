"""Who may see the dashboard."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from functools import partial, wraps

from django.contrib.auth.views import redirect_to_login
from django.db import DatabaseError
from django.http import HttpRequest, HttpResponse
from django.urls import NoReverseMatch, reverse
from django.utils.cache import add_never_cache_headers
from django.utils.translation import gettext as _

from poolmgr.control.access import control_alias, sentence_of
from poolmgr.control.deadline import deadline
from poolmgr.dashboard.frame import frame, show
from poolmgr.lookon import admission, entry
from poolmgr.lookon.policy import content_security_policy

VIEW = "poolmgr.view_poolprofile"
CHANGE = "poolmgr.change_poolprofile"
#: What cuts clients off takes both.
CUT_OFF = "poolmgr.cut_off_clients"

#: What stops a statement, or ends a session, of whoever holds a connection.
END_SESSIONS = "poolmgr.end_sessions"

#: What is said to a server may tell of a site's users, even without the values in it.
READ_STATEMENTS = "poolmgr.read_statements"

#: Seconds for which a page waits for the databases, altogether.
_PATIENCE = 5.0

View = Callable[..., HttpResponse]


def may_act(request: HttpRequest) -> bool:
    return request.user.has_perm(CHANGE)


def may_cut_off(request: HttpRequest) -> bool:
    return may_act(request) and request.user.has_perm(CUT_OFF)


def may_end_sessions(request: HttpRequest) -> bool:
    return request.user.has_perm(END_SESSIONS)


def may_read_statements(request: HttpRequest) -> bool:
    return request.user.has_perm(READ_STATEMENTS)


def may_read(request: HttpRequest, model: str) -> bool:
    """Whether the reader may see rows of ``model`` (``command``, ``event``), as the admin asks for each by itself."""
    return request.user.has_perm(f"poolmgr.view_{model}")


def staff_only(permission: str) -> Callable[[View], View]:
    """Let through active staff with ``permission``; send strangers to the login, and tell others what they lack.

    While nobody's permission can be checked, whoever has a pass may look on.
    """

    def decorate(view: View) -> View:
        @wraps(view)
        def guarded(request: HttpRequest, **place: str) -> HttpResponse:
            with ExitStack() as stack:
                if not admission.looks_on(request):
                    for alias in {*admission.permission_databases(), control_alias()}:
                        stack.enter_context(deadline(alias, _PATIENCE))
                response = _let_in(request, permission) or _answer(request, partial(view, **place))
            response.headers["Content-Security-Policy"] = content_security_policy()
            add_never_cache_headers(response)
            return response

        return guarded

    return decorate


def _let_in(request: HttpRequest, permission: str) -> HttpResponse | None:
    """None for whoever may, else the refusal."""
    if not admission.looks_on(request):
        try:
            return _checked(request, permission)
        except DatabaseError as error:
            if not admission.admit_after(request, error):
                return entry.waiting(admitted=False)
    if request.user.has_perm(permission):
        return None
    return entry.waiting(request.user.has_perm(VIEW), _("You may look on, as you could before. This has to wait."))


def _checked(request: HttpRequest, permission: str) -> HttpResponse | None:
    refusal = _refusal(request, permission)
    if refusal is None:
        admission.grant(request)
    elif permission == VIEW:
        admission.refuse(request)
    return refusal


def _refusal(request: HttpRequest, permission: str) -> HttpResponse | None:
    user = request.user
    if not user.is_authenticated:
        try:
            login = reverse("admin:login")
        except NoReverseMatch:  # a site without the admin has its own login
            login = None
        return redirect_to_login(request.get_full_path(), login)
    if not (user.is_active and user.is_staff):
        reason = _("This page is for staff. Ask an administrator for the staff status.")
    elif not user.has_perm(permission):
        return lacking(request, permission)
    else:
        return None
    return _denied(request, reason)


def lacking(request: HttpRequest, permission: str) -> HttpResponse:
    """The page for whoever has not this permission."""
    said = _("Your account lacks the permission “%(name)s”. Ask an administrator for it.")
    return _denied(request, said % {"name": permission})


def _denied(request: HttpRequest, reason: str) -> HttpResponse:
    context = {**frame(request), "title": _("Not allowed"), "reason": reason}
    return show(request, "poolmgr/denied.html", context, status=403)


def _answer(request: HttpRequest, view: View) -> HttpResponse:
    """The view's answer, or a page that says why the control database has none, such as missing migrations."""
    try:
        return view(request)
    except DatabaseError as error:
        reason = sentence_of(error)
    context = {**frame(request), "title": _("Connection pools"), "reason": reason}
    return show(request, "poolmgr/denied.html", context, status=503)
