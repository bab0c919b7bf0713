"""Whoever holds a connection for a request is called by its view, and by the id that its user may know."""

from __future__ import annotations

from django.core.signals import request_finished
from django.http import HttpRequest
from django.urls import ResolverMatch

from poolmgr.pools.labels import Label, set_label
from poolmgr.serving import requests

#: A client may send any word for a method, and labels are counted by name.
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
#: Where proxies and clients put the id of a request, the likeliest first.
_IDS = ("HTTP_X_REQUEST_ID", "HTTP_X_CORRELATION_ID", "HTTP_X_AMZN_TRACE_ID", "HTTP_TRACEPARENT")


def begin(request: HttpRequest, match: ResolverMatch | None) -> str:
    """What is checked out from now on is held for this request, whose view is that of ``match``.

    The route and not the path: those are many, and some hold secrets. Returns what the view is called.
    """
    method = request.method if request.method in _METHODS else "OTHER"
    route = "(no route)" if match is None else "/" + match.route.lstrip("^/").removesuffix("$")
    number = next((given for name in _IDS if (given := request.META.get(name))), "")
    label = Label("view", f"{method} {route}", number)
    set_label(label)
    return label.name


def _end(**kwargs: object) -> None:
    # Not with the response: one that streams goes on, and a thread of a pool goes on to other work.
    set_label(None)
    requests.end()


request_finished.connect(_end, dispatch_uid="poolmgr.requestnames")
