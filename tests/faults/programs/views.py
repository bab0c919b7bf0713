"""Views of every kind; each says which server process answered it."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

from asgiref.sync import sync_to_async
from django.db import connection
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.urls import path

from tests.faults.programs.site import held, query

ask = sync_to_async(query)


def sync_view(request: HttpRequest) -> HttpResponse:
    return HttpResponse(str(query()))


async def async_view(request: HttpRequest) -> HttpResponse:
    pid = await ask()
    await asyncio.sleep(0.02)
    return HttpResponse(f"{pid} {await ask()}")


async def thread_view(request: HttpRequest) -> HttpResponse:
    """A query outside the request's own thread, where nobody closes it."""
    return HttpResponse(str(await sync_to_async(query, thread_sensitive=False)()))


async def thread_state_view(request: HttpRequest) -> HttpResponse:
    """As `thread_view`, with session state that keeps the connection beyond the call."""

    def work() -> Any:
        assert query("SHOW statement_timeout") == "0", "what another request left"
        query("SET statement_timeout = 54321")
        return query()

    return HttpResponse(str(await sync_to_async(work, thread_sensitive=False)()))


async def slow_view(request: HttpRequest) -> HttpResponse:
    """Queries, then waits for something that never comes: the client will have gone."""
    await ask()
    await asyncio.sleep(30)
    return HttpResponse("never")


async def slow_query_view(request: HttpRequest) -> HttpResponse:
    await ask("SELECT pg_sleep(1)")
    return HttpResponse("late")


async def atomic_view(request: HttpRequest) -> HttpResponse:
    def work() -> Any:
        with held():
            query()
            time.sleep(0.01)
            return query()

    return HttpResponse(str(await sync_to_async(work)()))


async def failing_view(request: HttpRequest) -> HttpResponse:
    await ask()
    raise ZeroDivisionError


async def stream_view(request: HttpRequest) -> StreamingHttpResponse:
    async def parts() -> AsyncIterator[str]:
        for _ in range(200 if "endless" in request.GET else 5):
            yield f"{await ask()} "
            await asyncio.sleep(0.02)

    return StreamingHttpResponse(parts())


def sync_stream_view(request: HttpRequest) -> StreamingHttpResponse:
    """Rows of a server-side cursor that is open while they are sent."""

    def parts() -> Iterator[str]:
        with connection.chunked_cursor() as cursor:
            cursor.execute("SELECT generate_series(1, 300)")
            while rows := cursor.fetchmany(100):
                yield f"{len(rows)} "

    return StreamingHttpResponse(parts())


urlpatterns = [
    path("sync", sync_view),
    path("async", async_view),
    path("thread", thread_view),
    path("thread-state", thread_state_view),
    path("slow", slow_view),
    path("slow-query", slow_query_view),
    path("atomic", atomic_view),
    path("failing", failing_view),
    path("stream", stream_view),
    path("sync-stream", sync_stream_view),
]
