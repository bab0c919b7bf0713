"""Puts requests to the consoles on the console lane."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import nullcontext
from typing import Any

from asgiref.sync import iscoroutinefunction, markcoroutinefunction
from django.http import HttpRequest, HttpResponseBase
from django.urls import Resolver404, resolve

from poolmgr.pools.lane import console_lane

#: URL namespaces whose pages must answer when every pool is exhausted or paused. A site may give its admin and its
#: dashboard namespaces of their own, but their application namespaces are always these.
CONSOLES = frozenset({"admin", "poolmgr"})


class ConsoleLaneMiddleware:
    """Comes first in ``MIDDLEWARE``, since sessions and authentication query the database too."""

    sync_capable = True
    async_capable = True

    def __init__(self, get_response: Callable[[HttpRequest], Any]) -> None:
        self.get_response = get_response
        self.is_async = iscoroutinefunction(get_response)
        if self.is_async:
            markcoroutinefunction(self)

    def __call__(self, request: HttpRequest) -> HttpResponseBase | Awaitable[HttpResponseBase]:
        if self.is_async:
            return self._respond(request)
        with console_lane() if is_console(request) else nullcontext():
            response: HttpResponseBase = self.get_response(request)
        return response

    async def _respond(self, request: HttpRequest) -> HttpResponseBase:
        with console_lane() if is_console(request) else nullcontext():
            response: HttpResponseBase = await self.get_response(request)
        return response


def is_console(request: HttpRequest) -> bool:
    """Whether the request goes to the admin or to the dashboard."""
    try:
        match = resolve(request.path_info, getattr(request, "urlconf", None))
    except Resolver404:
        return False
    return not CONSOLES.isdisjoint((*match.app_names, *match.namespaces))
