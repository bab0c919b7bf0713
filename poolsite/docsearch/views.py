"""The search page and its JSON twin."""

from typing import Any

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from .models import Document
from .search import (
    ALL,
    DEFAULT_LIMIT,
    HIGHEST_LIMIT,
    LONGEST_QUERY,
    THROUGH,
    Answer,
    BadQuery,
    Query,
    Unavailable,
    parse_through,
    search,
)
from .ways import WAYS, Walked

EXAMPLES = ("temporary directory", "parse a date", "wait for a process", "thread pool", "compress data")
CHOICES = (*((name, way.label) for name, way in WAYS.items()), (ALL, "All"))
#: Seconds.
RETRY_AFTER = "5"


@require_safe
def page(request: HttpRequest) -> HttpResponse:
    """The search form, and under it the answer once something was asked."""
    context: dict[str, Any] = {
        "q": request.GET.get("q", "").replace("\0", " "),
        "longest": LONGEST_QUERY,
        "examples": EXAMPLES,
        "choices": CHOICES,
        "through": THROUGH[0],
    }
    status = 200
    try:
        context["through"] = parse_through(request.GET.get("through", ""))
        if "q" in request.GET:
            limit = request.GET.get("limit", "")
            context["answer"] = search(Query.parse(context["q"], limit, context["through"], "Your question"))
    except BadQuery as error:
        context["error"], status = str(error), 400
    except Unavailable as error:
        context["error"], status = str(error), 503
    response = render(request, "docsearch/page.html", context, status=status)
    if status == 503:
        response["Retry-After"] = RETRY_AFTER
    return response


@require_safe
def api(request: HttpRequest) -> JsonResponse:
    """/api/search?q=…&limit=…&through=…"""
    try:
        query = asked(request)
        return JsonResponse(as_json(query, search(query)))
    except (BadQuery, Unavailable) as error:
        return refused(error)


def asked(request: HttpRequest) -> Query:
    """Raises ``BadQuery``."""
    given = request.GET
    return Query.parse(given.get("q", ""), given.get("limit", ""), given.get("through", ""))


def refused(error: BadQuery | Unavailable) -> JsonResponse:
    if isinstance(error, Unavailable):
        return JsonResponse({"error": str(error)}, status=503, headers={"Retry-After": RETRY_AFTER})
    allowed = {
        "q": f"1 to {LONGEST_QUERY} characters",
        "limit": f"1 to {HIGHEST_LIMIT}, default {DEFAULT_LIMIT}",
        "through": f"{', '.join(THROUGH)}, default {THROUGH[0]}",
    }
    return JsonResponse({"error": str(error), "allowed": allowed}, status=400)


def as_json(query: Query, answer: Answer) -> dict[str, Any]:
    return {
        "query": query.text,
        "embed_ms": round(answer.embed_ms, 3),
        "ways": [_way(walked) for walked in answer.walked],
        "results": [_result(document) for document in answer.documents],
    }


def _way(walked: Walked) -> dict[str, Any]:
    return {
        "through": walked.through,
        "checkout_ms": round(walked.checkout_ms, 3),
        "query_ms": round(walked.query_ms, 3),
        "server_process": walked.server_process,
        "pool": {"target": walked.pool.target, "held": walked.pool.held, "max_size": walked.pool.most},
    }


def _result(document: Document) -> dict[str, Any]:
    return {
        "name": document.name,
        "kind": document.kind,
        "signature": document.signature,
        "similarity": round(document.similarity, 4),  # type: ignore[attr-defined]
        "text": document.text,
        "url": document.url,
    }
