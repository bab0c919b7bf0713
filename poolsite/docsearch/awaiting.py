"""The search for code that awaits: asyncpg in the request's own event loop, and the ORM too where that can be."""

import time

from asgiref.sync import sync_to_async
from django.conf import settings
from django.db import DEFAULT_DB_ALIAS
from django.http import HttpRequest, JsonResponse
from django.views.decorators.http import require_safe

import poolmgr
import poolmgr.aio

from .models import Document
from .search import Answer, BadQuery, Query, Unavailable, embedded, for_visitors, ways_of
from .views import as_json, asked, refused
from .ways import READ, VECTORS, Walk, Walked, by_asyncpg, document_of, nearest, told, walk

if settings.BY_TASKS:
    from django_async_backend.db import async_connections


@require_safe
async def api(request: HttpRequest) -> JsonResponse:
    """/api/search, as threads answer it."""
    try:
        query = asked(request)
        return JsonResponse(as_json(query, await search(query)))
    except (BadQuery, Unavailable) as error:
        return refused(error)


async def search(query: Query) -> Answer:
    """Raises ``Unavailable``."""
    vector, embed_ms = await sync_to_async(embedded)(query.text)
    with for_visitors():
        walked = [await _walk(way, vector, query.limit) for way in ways_of(query)]
    return Answer(tuple(walked), embed_ms)


async def _walk(through: str, vector: list[float], limit: int) -> Walked:
    started = time.perf_counter()
    if through == "asyncpg":
        return told(through, started, await by_asyncpg(vector, limit), poolmgr.aio.pool(VECTORS).managed)
    if through == "orm" and settings.BY_TASKS:
        return told(through, started, await _by_tasks(vector, limit), poolmgr.pool())
    return await sync_to_async(walk)(through, vector, limit)


async def _by_tasks(vector: list[float], limit: int) -> Walk:
    conn = async_connections[DEFAULT_DB_ALIAS]
    await conn.ensure_connection()
    checked_out, server_process = time.perf_counter(), conn.connection.info.backend_pid
    # What is deferred the package would load when it is asked for, and can't.
    found = nearest(Document.async_objects, vector).values_list(*READ, "similarity")  # type: ignore[attr-defined]
    return [document_of(row) async for row in found[:limit]], checked_out, server_process
