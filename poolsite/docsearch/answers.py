"""A page that streams an answer word by word, as from a model, and tells how long it had a connection for that."""

from collections.abc import AsyncIterator
from html import escape
from typing import Any

from django.conf import settings
from django.http import (
    Http404,
    HttpRequest,
    HttpResponse,
    HttpResponseBase,
    HttpResponseRedirect,
    StreamingHttpResponse,
)
from django.shortcuts import render
from django.template.loader import render_to_string
from django.urls import reverse
from django.views.decorators.http import require_safe

import poolmgr

from .answering import ByTasks, ByThreads, Passage, Use, answer
from .search import LONGEST_QUERY, BadQuery, Query, Unavailable, for_visitors
from .views import EXAMPLES

#: Where in the page the answer comes.
_HERE = "<!-- answer -->"


def link(request: HttpRequest) -> dict[str, str]:
    """For every page: where answers are streamed, if anywhere."""
    return {"answers": reverse("docsearch:answer") if settings.ASYNC_VIEWS else settings.ANSWERS_URL}


@require_safe
def elsewhere(request: HttpRequest) -> HttpResponse:
    """In a process that can't stream: the way to one that can."""
    if not settings.ANSWERS_URL:
        raise Http404("Nothing streams here: ASYNC_VIEWS=1 uvicorn poolsite.asgi:application")
    return HttpResponseRedirect(settings.ANSWERS_URL)


@require_safe
async def page(request: HttpRequest) -> HttpResponseBase:
    context: dict[str, Any] = {"q": request.GET.get("q", "").replace("\0", " "), "longest": LONGEST_QUERY}
    context |= {"examples": EXAMPLES, "by_tasks": settings.BY_TASKS}
    if "q" not in request.GET:
        return render(request, "docsearch/answer.html", context)
    try:
        query = Query.parse(context["q"], name="Your question")
    except BadQuery as error:
        return render(request, "docsearch/answer.html", {**context, "error": str(error)}, status=400)
    around = render_to_string("docsearch/answer.html", {**context, "here": _HERE}, request)
    return StreamingHttpResponse(_parts(query, *around.split(_HERE)), headers={"X-Accel-Buffering": "no"})


async def _parts(query: Query, before: str, after: str) -> AsyncIterator[str]:
    """The page, with the answer in it as it comes."""
    yield before
    use = Use(ByTasks() if settings.BY_TASKS else ByThreads())
    try:
        with for_visitors():
            async for part in answer(query, use):
                if isinstance(part, Passage):
                    yield render_to_string("docsearch/passage.html", {"passage": part})
                else:
                    yield escape(part)
    except Unavailable as error:
        yield render_to_string("docsearch/passage.html", {"error": error})
    pool = poolmgr.pool()
    told = {"use": use, "by_tasks": settings.BY_TASKS, "held": pool.load().held, "most": pool.spec.max_size}
    yield render_to_string("docsearch/use.html", {**told, "mode": pool.spec.pool_mode, "target": pool.target})
    yield after
