"""`pinned()`, `released()` and `unpooled()` in a view that awaits Django's own methods, which query in a thread."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from asgiref.sync import ThreadSensitiveContext, sync_to_async
from django.core.exceptions import SynchronousOnlyOperation
from django.core.signals import request_finished, request_started
from django.db.transaction import atomic
from django.db.utils import ConnectionDoesNotExist

import poolmgr
from poolmgr.exceptions import ReleaseError
from poolmgr.targets.postgresql.managed import ManagedPool
from poolsite.docsearch.models import Document
from tests.integration.backend import MODES, is_held, query, run_in_thread
from tests.kinds.test_postgresql_asyncio import Cancelled
from tests.waiting import until

pytestmark = pytest.mark.django_db(transaction=True)

Small = Callable[..., ManagedPool]


def serve(view: Callable[[], Any], run: Callable[[Any], Any] = asyncio.run) -> None:
    """As an ASGI server does: with a thread for the request, in which its connection is closed at its end."""

    async def request() -> None:
        async with ThreadSensitiveContext():
            await request_started.asend(None, environ={})
            try:
                await view()
            finally:
                ends = asyncio.ensure_future(request_finished.asend(None))
                await asyncio.wait({ends})

    run_in_thread(lambda: run(request()))


def pid() -> int:
    return int(query("SELECT pg_backend_pid()")[0][0])


def is_free(pool: ManagedPool) -> bool:
    return pool.load()[1:] == (0, 0)


def test_blocks_are_of_the_connection_that_methods_of_models_use(small_pool: Small) -> None:
    pool = small_pool("session", max_size=1)

    async def view() -> None:
        await Document.objects.acount()
        assert pool.snapshot().used == 1
        async with poolmgr.released():
            assert is_free(pool)
            with pool.connection(1.0):
                pass
            assert await Document.objects.acount() == 0
        there = await sync_to_async(pid)()
        async with poolmgr.unpooled():
            assert is_free(pool)
            assert await sync_to_async(pid)() != there
        await sync_to_async(query)("SET work_mem = '7MB'")
        with pytest.raises(ReleaseError, match="session state would be lost"):
            async with poolmgr.released():
                pytest.fail("it was let go")
        with pytest.raises(ZeroDivisionError):
            async with poolmgr.pinned():
                raise ZeroDivisionError
        with pytest.raises(SynchronousOnlyOperation, match="async with"), poolmgr.released():
            pass

    serve(view)
    assert is_free(pool)


def test_pinned_keeps_one_connection_from_one_method_to_the_next(small_pool: Small) -> None:
    pool = small_pool("transaction", max_size=1)

    async def view() -> None:
        async with poolmgr.pinned():
            await Document.objects.acount()
            assert pool.snapshot().used == 1
            assert await sync_to_async(is_held)()
        assert is_free(pool)

    serve(view)


def test_block_that_can_not_be_is_told_where_it_is_asked_for(small_pool: Small) -> None:
    small_pool("session")

    async def view() -> None:
        with pytest.raises(ConnectionDoesNotExist, match="nowhere"):
            async with poolmgr.released("nowhere"):
                pass
        again = poolmgr.pinned()
        async with again:
            with pytest.raises(RuntimeError, match=r"call poolmgr\.pinned\(\) for each"):
                async with again:
                    pass

    serve(view)


@pytest.mark.long
@pytest.mark.parametrize("mode", MODES)
def test_block_of_a_thread_that_is_cancelled_at_whichever_step_keeps_nothing(  # P4
    small_pool: Small, mode: str
) -> None:
    pool = small_pool(mode, max_size=1)

    def transact() -> None:
        with atomic():
            query("SET LOCAL work_mem = '1MB'")

    async def view() -> None:
        async with poolmgr.pinned():
            await Document.objects.acount()
        async with poolmgr.unpooled():
            await sync_to_async(transact)()
        async with poolmgr.released():
            await Document.objects.acount()

    at, went_on = 0, True
    while went_on:
        at += 1
        cancelled = Cancelled(at)
        with suppress(asyncio.CancelledError):
            serve(view, cancelled.run)
        went_on = cancelled.steps >= at
        until(lambda: is_free(pool), "all to be back")
        with pool.connection(1.0) as conn:
            assert conn.execute("SELECT 7").fetchone() == (7,)
    assert at > 10
