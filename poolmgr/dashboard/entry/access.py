"""Who may see the dashboard."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial, wraps

from django.contrib.auth.views import redirect_to_login
from django.db import DatabaseError
from django.http import HttpRequest, HttpResponse
from django.urls import NoReverseMatch, reverse
from django.utils.cache import add_never_cache_headers
from django.utils.translation import gettext as _

from poolmgr.control.access import control_alias, sentence_of
from poolmgr.control.deadline import deadline
from poolmgr.control.reporting.spoken import spoken
from poolmgr.dashboard.entry.frame import frame, show
from poolmgr.lookon import admission, entry
from poolmgr.lookon.policy import content_security_policy

VIEW = "poolmgr.view_poolprofile"
CHANGE = "poolmgr.change_poolprofile"
#: What it takes to make a profile where there is none.
ADD = "poolmgr.add_poolprofile"
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


@dataclass(frozen=True, slots=True)
class Manner:
    """How whoever is not let in is told so.

    ``denied`` is given the reason, and the permission that is lacking, "" where it isn't one; ``waits`` whether the reader
    may look on, and what has to wait; ``failed`` why the control database has no answer.
    """

    stranger: Callable[[HttpRequest], HttpResponse]
    denied: Callable[[HttpRequest, str, str], HttpResponse]
    waits: Callable[[bool, str], HttpResponse]
    failed: Callable[[HttpRequest, str], HttpResponse]


def staff_only(permission: str) -> Callable[[View], View]:
    """Let through active staff with ``permission``; send strangers to the login, and tell others what they lack.

    While nobody's permission can be checked, whoever has a pass may look on.
    """

    def decorate(view: View) -> View:
        @wraps(view)
        def guarded(request: HttpRequest, **place: str) -> HttpResponse:
            return admitted(request, permission, _PAGES, partial(view, request, **place))

        return guarded

    return decorate


def admitted(request: HttpRequest, permission: str, manner: Manner, answer: Callable[[], HttpResponse]) -> HttpResponse:
    """The answer for active staff with ``permission``, and for whoever may look on; never cached. Else the refusal."""
    with ExitStack() as stack:
        if not admission.looks_on(request):
            bounded(stack, *admission.permission_databases())
        response = _let_in(request, permission, manner) or answered(request, manner, answer)
    return sealed(response)


def bounded(stack: ExitStack, *aliases: str) -> None:
    """Have nothing of the control database, and of these, be waited for longer than a reader does."""
    for alias in {*aliases, control_alias()}:
        stack.enter_context(deadline(alias, _PATIENCE))


def sealed(response: HttpResponse) -> HttpResponse:
    response.headers["Content-Security-Policy"] = content_security_policy()
    add_never_cache_headers(response)
    return response


def answered(request: HttpRequest, manner: Manner, answer: Callable[[], HttpResponse]) -> HttpResponse:
    """The answer, or why the control database has none, such as missing migrations."""
    try:
        return answer()
    except DatabaseError as error:
        return manner.failed(request, spoken(sentence_of(error)))


def _let_in(request: HttpRequest, permission: str, manner: Manner) -> HttpResponse | None:
    """None for whoever may, else the refusal."""
    if not admission.looks_on(request):
        try:
            return _checked(request, permission, manner)
        except DatabaseError as error:
            if not admission.admit_after(request, error):
                return manner.waits(False, "")
    if request.user.has_perm(permission):
        return None
    return manner.waits(request.user.has_perm(VIEW), _("You may look on, as you could before. This has to wait."))


def _checked(request: HttpRequest, permission: str, manner: Manner) -> HttpResponse | None:
    refusal = _refusal(request, permission, manner)
    if refusal is None:
        admission.grant(request)
    elif permission == VIEW:
        admission.refuse(request)
    return refusal


def _refusal(request: HttpRequest, permission: str, manner: Manner) -> HttpResponse | None:
    user = request.user
    if not user.is_authenticated:
        return manner.stranger(request)
    if not (user.is_active and user.is_staff):
        return manner.denied(request, _("This page is for staff. Ask an administrator for the staff status."), "")
    if not user.has_perm(permission):
        return manner.denied(request, lacks(permission), permission)
    return None


def lacks(permission: str) -> str:
    """The sentence for whoever has not this permission."""
    said = _("Your account lacks the permission “%(name)s”. Ask an administrator for it.")
    return said % {"name": permission}


def lacking(request: HttpRequest, permission: str) -> HttpResponse:
    """The page for whoever has not this permission."""
    return _denied(request, lacks(permission), permission)


def _to_login(request: HttpRequest) -> HttpResponse:
    try:
        login = reverse("admin:login")
    except NoReverseMatch:  # a site without the admin has its own login
        login = None
    return redirect_to_login(request.get_full_path(), login)


def _denied(request: HttpRequest, reason: str, permission: str) -> HttpResponse:
    context = {**frame(request), "title": _("Not allowed"), "reason": reason}
    return show(request, "poolmgr/denied.html", context, status=403)


def _failed(request: HttpRequest, reason: str) -> HttpResponse:
    context = {**frame(request), "title": _("Connection pools"), "reason": reason}
    return show(request, "poolmgr/denied.html", context, status=503)


_PAGES = Manner(_to_login, _denied, entry.waiting, _failed)
