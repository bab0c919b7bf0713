"""Who may see the dashboard, and what a browser may load on it."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from urllib.parse import urlsplit

from django.contrib.auth.views import redirect_to_login
from django.db import DatabaseError
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.templatetags.static import static
from django.urls import NoReverseMatch, reverse
from django.utils.cache import add_never_cache_headers
from django.utils.translation import gettext as _

from poolmgr.control.access import sentence_of
from poolmgr.dashboard.frame import frame

VIEW = "poolmgr.view_poolprofile"
CHANGE = "poolmgr.change_poolprofile"

View = Callable[[HttpRequest], HttpResponse]


def may_act(request: HttpRequest) -> bool:
    return request.user.has_perm(CHANGE)


def may_read(request: HttpRequest, model: str) -> bool:
    """Whether the reader may see rows of ``model`` (``command``, ``event``), as the admin asks for each by itself."""
    return request.user.has_perm(f"poolmgr.view_{model}")


def staff_only(permission: str) -> Callable[[View], View]:
    """Let through active staff with ``permission``; send strangers to the login, and tell others what they lack."""

    def decorate(view: View) -> View:
        @wraps(view)
        def guarded(request: HttpRequest) -> HttpResponse:
            response = _refusal(request, permission) or _answer(request, view)
            response.headers["Content-Security-Policy"] = content_security_policy()
            add_never_cache_headers(response)
            return response

        return guarded

    return decorate


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
        reason = _("Your account lacks the permission “%(name)s”. Ask an administrator for it.") % {"name": permission}
    else:
        return None
    context = {**frame(request), "title": _("Not allowed"), "reason": reason}
    return render(request, "poolmgr/denied.html", context, status=403)


def _answer(request: HttpRequest, view: View) -> HttpResponse:
    """The view's answer, or a page that says why the control database has none, such as missing migrations."""
    try:
        return view(request)
    except DatabaseError as error:
        reason = sentence_of(error)
    context = {**frame(request), "title": _("Connection pools"), "reason": reason}
    return render(request, "poolmgr/denied.html", context, status=503)


def content_security_policy() -> str:
    """Only our own files, from where the site serves them; nothing inline."""
    address = urlsplit(static("poolmgr/dashboard.js"))
    files = f"'self' {address.scheme}://{address.netloc}" if address.netloc and address.scheme else "'self'"
    return "; ".join(
        (
            f"default-src {files}",
            f"img-src {files} data:",
            "connect-src 'self'",
            "object-src 'none'",
            "base-uri 'none'",
            "form-action 'self'",
            "frame-ancestors 'none'",
        )
    )
