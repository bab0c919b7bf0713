"""Who may ask: staff by their session, and for reading whoever bears the token."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial, wraps
from secrets import compare_digest
from typing import Any

from django.contrib.auth.decorators import login_not_required
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.middleware.csrf import CsrfViewMiddleware
from django.views.decorators.csrf import csrf_exempt

from poolmgr.conf import conf
from poolmgr.control.reporting.spoken import in_english
from poolmgr.dashboard.acting.holders import apart
from poolmgr.dashboard.api.answers import IN_JSON, Refused, not_allowed, refusal
from poolmgr.dashboard.entry.access import (
    VIEW,
    admitted,
    answered,
    bounded,
    may_read,
    may_read_statements,
    sealed,
)
from poolmgr.dashboard.entry.queries import BadQuery
from poolmgr.secrets import Secret

READ, ACT = ("GET", "HEAD"), ("POST",)


@dataclass(frozen=True, slots=True)
class Reader:
    """What whoever asks may be told. Whoever bears the token has no account, and is told nothing of what people ran."""

    statements: bool
    events: bool
    commands: bool


_BEARER = Reader(statements=False, events=True, commands=True)

#: Builds a document for a reader, with its status where that isn't 200.
Document = Callable[..., dict[str, Any] | tuple[int, dict[str, Any]]]


def reading(document: Document) -> Callable[..., HttpResponse]:
    """The view that answers GET with a document."""
    return view({"GET": document})


def view(documents: dict[str, Document]) -> Callable[..., HttpResponse]:
    """The view that answers each of the methods with the document that is built for it."""
    allowed = tuple(name for method in documents for name in (READ if method == "GET" else (method,)))

    # Its own check of tokens against forged requests answers in JSON.
    @csrf_exempt
    @login_not_required
    @apart
    @wraps(next(iter(documents.values())))
    def answer(request: HttpRequest, **place: str) -> HttpResponse:
        with in_english():
            return _answer(request, documents, allowed, place)

    return answer


def _answer(
    request: HttpRequest, documents: dict[str, Document], allowed: tuple[str, ...], place: dict[str, str]
) -> HttpResponse:
    method = "GET" if request.method == "HEAD" else request.method or ""
    if method not in documents:
        return sealed(not_allowed(method, allowed))
    build = partial(documents[method], request, **place)
    scheme, _blank, given = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return sealed(_by_token(request, Secret(given.strip()), build))
    return admitted(request, VIEW, IN_JSON, lambda: _by_session(request, build))


def _by_token(request: HttpRequest, given: str, build: Document) -> HttpResponse:
    token = conf().API_TOKEN
    if token is None or not compare_digest(given.encode(), token.encode()):
        response = refusal(401, "The token is wrong, or POOLMGR['API_TOKEN'] is not set.")
        response.headers["WWW-Authenticate"] += ', error="invalid_token"'
        return response
    if request.method not in READ:
        return refusal(403, "The token is for reading alone. Orders are for people who have logged in.")
    with ExitStack() as stack:
        bounded(stack)
        return answered(request, IN_JSON, partial(_told, build, _BEARER))


def _by_session(request: HttpRequest, build: Document) -> HttpResponse:
    if request.method not in READ and (reason := _Forged(_nothing).refuses(request)):
        return refusal(403, f"CSRF check failed: {reason}")
    reader = Reader(may_read_statements(request), may_read(request, "event"), may_read(request, "command"))
    return _told(build, reader)


def _told(build: Document, reader: Reader) -> HttpResponse:
    try:
        found = build(reader=reader)
    except Refused as refused:
        return refusal(refused.status, str(refused), **refused.told)
    except BadQuery as error:
        return refusal(400, str(error))
    except (KeyError, IndexError):  # a fault of ours, and nothing that was looked for
        raise
    except LookupError as error:
        return refusal(404, _sentence(str(error)))
    status, document = found if isinstance(found, tuple) else (200, found)
    return JsonResponse(document, status=status)


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}" + ("" if text.endswith(".") else ".")


class _Forged(CsrfViewMiddleware):
    """Django's own check, which says what is wrong instead of showing a page."""

    def refuses(self, request: HttpRequest) -> str:
        self.process_request(request)
        found: Any = self.process_view(request, _nothing, (), {})
        return found or ""

    def _reject(self, request: HttpRequest, reason: str) -> Any:
        return reason


def _nothing(request: HttpRequest) -> HttpResponse:
    return HttpResponse()
