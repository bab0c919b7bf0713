"""The search page and its JSON twin."""

from typing import Any

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from .models import Document
from .search import DEFAULT_LIMIT, HIGHEST_LIMIT, LONGEST_QUERY, Answer, BadQuery, Query, search

EXAMPLES = ("temporary directory", "parse a date", "wait for a process", "thread pool", "compress data")


@require_safe
def page(request: HttpRequest) -> HttpResponse:
    """The search form, and under it the answer once something was asked."""
    context: dict[str, Any] = {
        "q": request.GET.get("q", "").replace("\0", " "),
        "longest": LONGEST_QUERY,
        "examples": EXAMPLES,
    }
    status = 200
    if "q" in request.GET:
        try:
            context["answer"] = search(Query.parse(context["q"], request.GET.get("limit", ""), "Your question"))
        except BadQuery as error:
            context["error"] = str(error)
            status = 400
    return render(request, "docsearch/page.html", context, status=status)


@require_safe
def api(request: HttpRequest) -> JsonResponse:
    """/api/search?q=…&limit=…"""
    try:
        query = Query.parse(request.GET.get("q", ""), request.GET.get("limit", ""))
    except BadQuery as error:
        allowed = {"q": f"1 to {LONGEST_QUERY} characters", "limit": f"1 to {HIGHEST_LIMIT}, default {DEFAULT_LIMIT}"}
        return JsonResponse({"error": str(error), "allowed": allowed}, status=400)
    return JsonResponse(_as_json(query, search(query)))


def _as_json(query: Query, answer: Answer) -> dict[str, Any]:
    return {
        "query": query.text,
        "checkout_ms": round(answer.checkout_ms, 3),
        "query_ms": round(answer.query_ms, 3),
        "embed_ms": round(answer.embed_ms, 3),
        "results": [_result(document) for document in answer.documents],
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
