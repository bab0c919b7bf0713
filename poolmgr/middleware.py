"""Has holders called by their requests, and puts requests to the consoles on the console lane."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import nullcontext
from importlib import import_module
from typing import Any

from asgiref.sync import iscoroutinefunction, markcoroutinefunction, sync_to_async
from django.apps import apps
from django.http import HttpRequest, HttpResponseBase
from django.urls import Resolver404, ResolverMatch, resolve

from poolmgr import requestnames
from poolmgr.pools.lane import console_lane
from poolmgr.serving import requests

#: URL namespaces whose pages must answer when every pool is exhausted or paused. A site may give its admin and its
#: dashboard namespaces of their own, but their application namespaces are always these.
CONSOLES = frozenset({"admin", "poolmgr"})


class ConsoleLaneMiddleware:
    """Comes first in ``MIDDLEWARE``, since sessions and authentication query the database too.

    While that database is away, it lets whoever has a pass look on, and answers the others.
    """

    sync_capable = True
    async_capable = True

    def __init__(self, get_response: Callable[[HttpRequest], Any]) -> None:
        self.get_response = get_response
        self.is_async = iscoroutinefunction(get_response)
        if self.is_async:
            markcoroutinefunction(self)
        # Loaded here: its models need their apps, and a site with the backend alone has none of them.
        wanted = apps.is_installed("poolmgr") and apps.is_installed("django.contrib.auth")
        self._entry = import_module("poolmgr.lookon.entry") if wanted else None

    def __call__(self, request: HttpRequest) -> HttpResponseBase | Awaitable[HttpResponseBase]:
        if self.is_async:
            return self._respond(request)
        match, name = _begin(request)
        # Until it is finished; a request that awaits has no thread to itself.
        requests.begin(name)
        with nullcontext() if match is None else console_lane():
            response: HttpResponseBase = self._answer_first(request, match) or self.get_response(request)
            self._settle(request, response)
        return response

    async def _respond(self, request: HttpRequest) -> HttpResponseBase:
        match, _name = _begin(request)
        with nullcontext() if match is None else console_lane():
            first = match and await sync_to_async(self._answer_first, thread_sensitive=False)(request, match)
            response: HttpResponseBase = first or await self.get_response(request)
            if self._entry is not None and self._entry.must_settle(request):
                await sync_to_async(self._settle, thread_sensitive=False)(request, response)
        return response

    def _answer_first(self, request: HttpRequest, match: ResolverMatch | None) -> HttpResponseBase | None:
        answer: HttpResponseBase | None = None
        if match is not None and self._entry is not None:
            answer = self._entry.answer_first(request, match)
        return answer

    def _settle(self, request: HttpRequest, response: HttpResponseBase) -> None:
        if self._entry is not None and self._entry.must_settle(request):
            self._entry.settle(request, response)


def _begin(request: HttpRequest) -> tuple[ResolverMatch | None, str]:
    """Tell for whom connections are held from now on; where the request leads if that is a console, else None; its name."""
    match = _match(request)
    name = requestnames.begin(request, match)
    return match if _is_console(match) else None, name


def console_match(request: HttpRequest) -> ResolverMatch | None:
    """Where a request to the admin or to the dashboard leads; None for all others."""
    match = _match(request)
    return match if _is_console(match) else None


def _match(request: HttpRequest) -> ResolverMatch | None:
    try:
        return resolve(request.path_info, getattr(request, "urlconf", None))
    except Resolver404:
        return None


def _is_console(match: ResolverMatch | None) -> bool:
    return match is not None and not CONSOLES.isdisjoint((*match.app_names, *match.namespaces))
