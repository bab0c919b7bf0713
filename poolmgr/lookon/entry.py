"""The first and the last look at a request of the console, from outside of all other middleware."""

from __future__ import annotations

from django.conf import settings
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.template.loader import render_to_string
from django.urls import ResolverMatch
from django.utils.cache import add_never_cache_headers
from django.utils.translation import gettext as _

from poolmgr.lookon.admission import admit, must_settle, permission_outage, settle
from poolmgr.lookon.policy import content_security_policy

__all__ = ["answer_first", "must_settle", "settle", "waiting", "waiting_in_json"]

#: Seconds after which a client may try again.
_RETRY = "5"


def answer_first(request: HttpRequest, match: ResolverMatch) -> HttpResponse | None:
    """The answer to a request whose sender can't be known now; None lets it in, perhaps to look on."""
    dashboard = "poolmgr" in match.app_names
    if dashboard and settings.SESSION_COOKIE_NAME not in request.COOKIES:
        return None  # a stranger, who goes to the login, or a scraper with a token
    found = permission_outage()
    if found is None:
        return None
    admitted = admit(request, found)
    if admitted and dashboard:
        return None
    return waiting_in_json(admitted) if match.app_names == ["poolmgr", "api"] else waiting(admitted)


def waiting_in_json(admitted: bool, reason: str = "") -> HttpResponse:
    """The same for a program. It tells ``reason`` to those who may look on."""
    said = (reason if admitted else "") or _(
        "The database that knows who may see this is away. Nobody can be recognised, and nothing can be changed."
    )
    response = JsonResponse({"error": said}, status=503)
    response.headers["Retry-After"] = _RETRY
    add_never_cache_headers(response)
    return response


def waiting(admitted: bool, reason: str = "") -> HttpResponse:
    """A page that costs no query. It tells ``reason``, and the way to the dashboard, to those who may look on."""
    context = {"title": _("Not while the database is away"), "admitted": admitted, "reason": reason}
    # Without the request: the site's context processors may query.
    response = HttpResponse(render_to_string("poolmgr/waiting.html", context), status=503)
    response.headers["Retry-After"] = _RETRY
    response.headers["Content-Security-Policy"] = content_security_policy()
    add_never_cache_headers(response)
    return response
