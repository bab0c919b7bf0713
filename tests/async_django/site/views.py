"""Async views that query by tasks, or by Django's own methods, which do so in threads. Each answer bears its request's mark."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from asgiref.sync import sync_to_async
from django.conf import settings
from django.contrib.auth.models import Group
from django.db import transaction
from django.db.models import Value
from django.http import HttpRequest, HttpResponse, JsonResponse, StreamingHttpResponse
from django.urls import path

import poolmgr
from poolmgr.pools.desired import Desired
from poolmgr.pools.spec import make_spec

BY_TASKS = settings.HALF == "tasks"
#: The group that is always there.
NAME = "one"

groups: Any = Group.async_objects if BY_TASKS else Group.objects  # type: ignore[attr-defined]


class SyncMiddleware:
    def __init__(self, get_response: Any) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> Any:
        return self._get_response(request)


async def echo(request: HttpRequest) -> str:
    marked = groups.filter(name=NAME).annotate(mark=Value(request.GET["mark"]))
    return str((await marked.aget()).mark)


async def asks(request: HttpRequest) -> HttpResponse:
    before = await echo(request)
    await asyncio.sleep(0.01)
    return HttpResponse(f"{before} {await echo(request)}")


async def writes(request: HttpRequest) -> HttpResponse:
    mark = request.GET["mark"]
    made = await groups.acreate(name=mark)
    found = [each.name async for each in groups.filter(pk=made.pk)]
    await groups.filter(pk=made.pk).adelete()
    return HttpResponse(found[0])


async def transacts(request: HttpRequest) -> HttpResponse:
    """Something is waited for in the middle of a transaction, whose client may have gone."""
    if BY_TASKS:
        from django_async_backend.db.transaction import async_atomic

        async with async_atomic():
            await groups.select_for_update().aget(name=NAME)
            await asyncio.sleep(0.02)
            return HttpResponse(await echo(request))

    def work() -> str:
        with transaction.atomic():
            group = Group.objects.select_for_update().get(name=NAME)
            return request.GET["mark"] if group.name == NAME else ""

    return HttpResponse(await sync_to_async(work)())


async def streams(request: HttpRequest) -> StreamingHttpResponse:
    """As from a model: each part is waited for."""

    async def parts() -> AsyncIterator[str]:
        for _ in range(int(request.GET.get("parts", 4))):
            yield f"{await echo(request)} "
            await asyncio.sleep(0.02)

    return StreamingHttpResponse(parts())


async def streams_released(request: HttpRequest) -> StreamingHttpResponse:
    """As one that holds nothing while it waits, in session mode too."""

    async def parts() -> AsyncIterator[str]:
        async with poolmgr.pinned():
            yield f"{await echo(request)} "
        for _ in range(int(request.GET.get("parts", 4))):
            yield f"{await echo(request)} "
            async with poolmgr.released():
                await asyncio.sleep(0.02)

    return StreamingHttpResponse(parts())


async def asks_and_streams(request: HttpRequest) -> StreamingHttpResponse:
    before = await echo(request)
    response = await streams(request)
    response["Before"] = before
    return response


async def streams_in_a_transaction(request: HttpRequest) -> StreamingHttpResponse:
    async def parts() -> AsyncIterator[str]:
        from django_async_backend.db.transaction import async_atomic

        async with async_atomic():
            for _ in range(int(request.GET.get("parts", 4))):
                yield f"{await echo(request)} "
                await asyncio.sleep(0.02)

    return StreamingHttpResponse(parts())


async def waits(request: HttpRequest) -> HttpResponse:
    """For something that never comes: the client will have gone."""
    await echo(request)
    # Behind a middleware that is not async nobody tells it that its client has gone.
    await asyncio.sleep(3 if settings.MIDDLEWARE else 30)
    return HttpResponse("never")


async def sleeps(request: HttpRequest) -> HttpResponse:
    await groups.extra(where=["pg_sleep(0.6) IS NOT NULL"]).acount()
    return HttpResponse("late")


async def fails(request: HttpRequest) -> HttpResponse:
    await echo(request)
    raise ZeroDivisionError


async def figures(request: HttpRequest) -> JsonResponse:
    """What the pool has, after its mode was changed where one is named."""
    pool = poolmgr.pool()
    if mode := request.GET.get("mode"):
        pool.apply(
            Desired(make_spec({**pool.spec.to_dict(), "pool_mode": mode}), "profile 1", pool.desired.revision + 1)
        )
    seen = pool.snapshot()
    told = {name: getattr(seen, name) for name in ("used", "size", "pending", "reclaimed", "left_behind", "created")}
    return JsonResponse({**told, "holders": [str(each) for each in seen.holders]})


urlpatterns = [
    path("asks", asks),
    path("writes", writes),
    path("transacts", transacts),
    path("streams", streams),
    path("streams-released", streams_released),
    path("asks-and-streams", asks_and_streams),
    path("streams-in-a-transaction", streams_in_a_transaction),
    path("waits", waits),
    path("sleeps", sleeps),
    path("fails", fails),
    path("figures", figures),
]
