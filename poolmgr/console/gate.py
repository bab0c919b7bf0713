"""What the console's own process serves, and what it refuses."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.conf import settings
from django.http import HttpRequest, HttpResponse, HttpResponseNotFound
from django.shortcuts import redirect, resolve_url

from poolmgr.conf import conf
from poolmgr.middleware import ConsoleLaneMiddleware, console_match

_REFUSED = (
    "This process serves the pools' console alone: the admin, the dashboard and the login.\n"
    "POOLMGR['CONSOLE_PATHS'] names other paths that it is to serve.\n"
)


class ConsoleOnly(ConsoleLaneMiddleware):
    """Comes first of all middleware, so that it refuses before any other looks at the view.

    Not before that: static files are served by middleware, too.
    """

    def process_view(
        self, request: HttpRequest, view: Callable[..., Any], args: Any, kwargs: Any
    ) -> HttpResponse | None:
        if console_match(request) or request.path == resolve_url(settings.LOGIN_URL):
            return None
        if request.path_info.startswith(conf().CONSOLE_PATHS):
            return None
        if request.path_info == "/":
            return redirect("poolmgr:dashboard")
        return HttpResponseNotFound(_REFUSED, content_type="text/plain; charset=utf-8")
