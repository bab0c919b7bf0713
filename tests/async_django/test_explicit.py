"""`pinned()`, `released()` and `unpooled()` of a task's connection."""

import asyncio
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest
from django.core.exceptions import SynchronousOnlyOperation
from django.db import OperationalError, connections
from django.db.backends.signals import connection_created
from django_async_backend.db import async_connections
from django_async_backend.db.transaction import async_atomic

import poolmgr
from poolmgr.exceptions import ModeError, ReleaseError
from poolmgr.targets.postgresql.managed import ManagedPool
from poolsite.demo.servers import EmbeddedPostgres
from tests import pools
from tests.async_django.conftest import ALIAS
from tests.async_django.test_wrapper import Declare, is_free, one, pid, run
from tests.bouncer import Bouncer
from tests.kinds.test_postgresql_asyncio import Cancelled
from tests.waiting import until, when


def make_function(managed: ManagedPool) -> None:
    """`sets()`, which sets something that nobody sees."""
    with managed.connection() as conn:
        body = "PERFORM set_config('application_name', 'theirs', false)"
        conn.execute(f"CREATE OR REPLACE FUNCTION sets() RETURNS void LANGUAGE plpgsql AS $$BEGIN {body}; END$$")
    until(lambda: managed.snapshot().idle == 1, "its connection to be cleaned")


@pytest.mark.parametrize("mode", ["transaction", pytest.param("statement", marks=pytest.mark.long)])
def test_pinned_keeps_one_connection_and_what_was_set_unseen(declare: Declare, mode: str) -> None:  # P2
    managed = declare({"pool_mode": mode, "max_size": 2})
    make_function(managed)

    async def visit() -> None:
        async with poolmgr.pinned(ALIAS):
            assert is_free(managed)
            first = await pid()
            assert managed.snapshot().used == 1
            await run("SELECT sets()")
            async with poolmgr.pinned(ALIAS):
                assert await one("SELECT current_setting('application_name')") == "theirs"
            assert await pid() == first
            with pytest.raises(ReleaseError, match=re.escape("its session state would be lost (pinned())")):
                async with poolmgr.released(ALIAS):
                    pass
        assert managed.snapshot().used == 0
        await when(lambda: managed.snapshot().idle == 1, "it to be cleaned")
        assert await one("SELECT current_setting('application_name')") != "theirs"
        assert await pid() == first
        # What can be seen needs it longer.
        async with poolmgr.pinned(ALIAS):
            cursor = await async_connections[ALIAS].cursor()
            await cursor.execute("SELECT 1")
        assert managed.snapshot().used == 1
        await cursor.close()
        assert managed.snapshot().used == 0

    asyncio.run(visit())


def test_released_holds_nothing_around_a_slow_call_or_says_why_not(declare: Declare) -> None:
    managed = declare({"pool_mode": "session", "max_size": 1})

    async def visit() -> None:
        first = await pid()
        assert managed.snapshot().used == 1
        async with poolmgr.released(ALIAS):
            assert is_free(managed)
            with managed.connection(1.0):
                pass
            assert await pid() == first
        async with async_atomic(ALIAS):
            with pytest.raises(ReleaseError, match=re.escape("released() is refused inside atomic()")):
                await poolmgr.released(ALIAS).__aenter__()
            assert await pid() == first
        async with await async_connections[ALIAS].cursor():
            with pytest.raises(ReleaseError, match="a cursor is open"):
                await poolmgr.released(ALIAS).__aenter__()
        await run("SET work_mem = '1MB'")
        with pytest.raises(ReleaseError, match="its session state would be lost"):
            await poolmgr.unpooled(ALIAS).__aenter__()
        await async_connections[ALIAS].close()
        with pytest.raises(ReleaseError, match="a transaction is open"):
            await async_connections[ALIAS].set_autocommit(False)
            await run("SELECT 1")
            await poolmgr.released(ALIAS).__aenter__()
        await async_connections[ALIAS].rollback()
        await async_connections[ALIAS].set_autocommit(True)

        async def another_s() -> None:
            async with poolmgr.released(ALIAS):
                pass

        with pytest.raises(RuntimeError, match="can only be used by the task that first used it"):
            await asyncio.gather(another_s())
        await async_connections[ALIAS].close()

    asyncio.run(visit())
    assert is_free(managed)


@contextmanager
def listening() -> Iterator[list[Any]]:
    """Somebody queries each new connection, as threads do."""
    heard = []

    def hear(connection: Any, **kwargs: Any) -> None:
        with connection.cursor() as cursor:
            cursor.execute("SET statement_timeout = '77s'")
        with connections[connection.alias].cursor() as cursor:  # as those of Django's own do
            cursor.execute("SELECT pg_backend_pid()")
            heard.append(cursor.fetchone()[0])

    connection_created.connect(hear)
    try:
        yield heard
    finally:
        connection_created.disconnect(hear)


@pytest.mark.parametrize("mode", ["statement", pytest.param("session", marks=pytest.mark.long)])
def test_unpooled_is_a_connection_of_one_s_own_made_as_every_other(  # P1 P4
    declare: Declare, postgres: EmbeddedPostgres, mode: str
) -> None:
    url = str(postgres.create_database("async_django"))
    managed = declare({"pool_mode": mode, "max_size": 1}, TIME_ZONE="Asia/Kolkata")

    async def visit(heard: list[int]) -> None:
        with managed.connection() as conn:
            there = conn.info.backend_pid
            async with poolmgr.unpooled(ALIAS), poolmgr.unpooled(ALIAS):
                own = await pid()
                assert own != there
                assert heard == [own]
                assert await one("SHOW statement_timeout") == "77s"
                assert await one("SHOW TimeZone") == "Asia/Kolkata"
                # Whatever the pool's mode, it is nobody else's.
                async with async_atomic(ALIAS), poolmgr.pinned(ALIAS), poolmgr.released(ALIAS):
                    await run("SET LOCAL work_mem = '1MB'")
                    assert await one("SHOW work_mem") == "1MB"
                    assert await pid() == own
                cursor = await async_connections[ALIAS].chunked_cursor()
                await cursor.execute("SELECT generate_series(1, 9)")
                assert len(await cursor.fetchmany(3)) == 3
                await cursor.close()
        assert async_connections[ALIAS].connection is None
        await when(lambda: pools.backends(url) == {there}, "the end of its session")
        assert await pid() == there

    with listening() as heard:
        asyncio.run(visit(heard))
    until(lambda: is_free(managed), "all to be back")


@pytest.mark.long
def test_connection_of_one_s_own_that_is_closed_under_a_task_leaves_the_loop_its_socket(  # P4
    declare: Declare, postgres: EmbeddedPostgres
) -> None:
    """A loop that goes on watching a number hears, or breaks, whatever has it next."""
    url = str(postgres.create_database("async_django"))
    declare({"max_size": 1})

    async def visit() -> None:
        async with poolmgr.unpooled(ALIAS):
            await run("SELECT 1")
            fileno = async_connections[ALIAS].connection.fileno()
            was = os.fstat(fileno).st_ino

            async def close() -> None:
                """As the package does at the end of a request, in a task of its own."""
                await asyncio.to_thread(until, lambda: pools.active(url) == 1, "it to run")
                await async_connections[ALIAS].close()
                assert os.fstat(fileno).st_ino == was

            closing = asyncio.ensure_future(close())
            with pytest.raises(OperationalError):
                await run("SELECT pg_sleep(60)")
            await closing
            await when(lambda: not pools.backends(url), "the end of its session")
            assert await one("SELECT 1") == 1

    asyncio.run(visit())


async def use_all() -> None:
    async with poolmgr.pinned(ALIAS):
        await run("SELECT sets()")
    await run("SELECT 1")
    async with poolmgr.released(ALIAS):
        await run("SELECT 1")
    async with poolmgr.unpooled(ALIAS):
        await run("SET application_name = 'theirs'")
        async with async_atomic(ALIAS):
            await run("SELECT 1")


async def request() -> None:
    try:
        await use_all()
    finally:
        await asyncio.gather(async_connections[ALIAS].close())


@pytest.mark.long
@pytest.mark.parametrize("mode", ["transaction", "session"])
def test_block_that_is_cancelled_at_whichever_step_loses_nothing(  # P2 P3 P4
    declare: Declare, postgres: EmbeddedPostgres, mode: str
) -> None:
    url = str(postgres.create_database("async_django"))
    managed = declare({"pool_mode": mode, "max_size": 1})
    make_function(managed)
    with listening():
        at, went_on = 0, True
        while went_on:
            at += 1
            cancelled = Cancelled(at)
            cancelled.run(request())
            went_on = cancelled.steps >= at
            until(lambda: is_free(managed) and len(managed.pool._pool) == managed.pool._nconns, "all to be back")
            until(lambda: len(pools.backends(url)) == managed.pool._nconns, "the end of sessions of their own")
            with managed.connection(1.0) as conn:
                assert conn.execute("SELECT current_setting('application_name')").fetchone() != ("theirs",)
    assert at > 10
    assert managed.snapshot().left_behind == 0


def test_block_of_a_thread_is_refused_in_an_event_loop(declare: Declare) -> None:
    declare()

    async def visit() -> None:
        for block in (poolmgr.pinned, poolmgr.released, poolmgr.unpooled):
            with pytest.raises(SynchronousOnlyOperation, match="async with"), block(ALIAS):
                pass

    asyncio.run(visit())


@pytest.mark.long
def test_pinned_is_refused_to_tasks_where_the_server_connection_is_shared(
    declare: Declare, make_bouncer: Callable[..., Bouncer]
) -> None:  # P4 P8
    bouncer = make_bouncer({"transaction": "pool_mode=transaction"}, default_pool_size=5)
    managed = declare({"pool_mode": "transaction", "max_size": 2}, **pools.address(bouncer.url("transaction")))
    refused = re.escape("the pooler before its server gives the server connection to others")

    async def is_refused() -> None:
        with pytest.raises(ModeError, match=refused):
            async with poolmgr.pinned(ALIAS):
                await run("SELECT 1")
                pytest.fail("a query was run in a block that can't be kept")

    async def visit() -> None:
        await is_refused()  # whoever connects first only learns of it
        assert is_free(managed)
        await is_refused()  # known beforehand
        async with async_atomic(ALIAS):
            await run("SELECT 1")
            await is_refused()
            assert await one("SELECT 1") == 1
        async with poolmgr.unpooled(ALIAS):
            await is_refused()
        assert await one("SELECT 1") == 1

    asyncio.run(visit())
    assert is_free(managed)
    at, went_on = 0, True
    while went_on:
        at += 1
        cancelled = Cancelled(at)
        cancelled.run(_suppressed(is_refused()))
        went_on = cancelled.steps >= at
        until(lambda: is_free(managed), "all to be back")
        with managed.connection() as conn:
            assert conn.execute("SELECT 7").fetchone() == (7,)


@pytest.mark.long
def test_a_task_is_told_at_the_end_of_a_block_that_its_session_was_shared_meanwhile(
    declare: Declare, make_bouncer: Callable[..., Bouncer]
) -> None:  # P4
    bouncer = make_bouncer({"changing": "pool_mode=session"}, default_pool_size=5)
    managed = declare({"pool_mode": "transaction", "max_size": 2}, **pools.address(bouncer.url("changing")))

    def pool_by(mode: str) -> None:
        bouncer.databases["changing"] = f"pool_mode={mode}"
        bouncer.write(default_pool_size=5)
        bouncer.console("RELOAD")

    async def change_in_the_middle() -> None:
        pool_by("session")
        async with poolmgr.pinned(ALIAS):
            await run("SELECT 1")
            pool_by("transaction")
            await run("SELECT 1")

    async def visit() -> None:
        with pytest.raises(ModeError, match="was not kept on database"):
            await change_in_the_middle()

    asyncio.run(visit())
    assert is_free(managed)
    at, went_on = 0, True
    while went_on:  # cancelled at each await
        at += 1
        cancelled = Cancelled(at)
        cancelled.run(_told(change_in_the_middle()))
        went_on = cancelled.steps >= at
        until(lambda: is_free(managed), "all to be back")


async def _told(visit: Any) -> None:
    with suppress(ModeError):
        await visit


async def _suppressed(visit: Any) -> None:
    with suppress(pytest.fail.Exception):
        await visit
