"""A task that is cancelled, wherever it is: its connection comes back once, and nobody goes on in what it has begun."""

import asyncio
import gc
import os
import signal
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from django.contrib.auth.models import Group
from django.db.backends.signals import connection_created
from django_async_backend.db import async_connections, async_new_connection
from django_async_backend.db.models.query import QuerySet
from django_async_backend.db.transaction import async_atomic

from poolmgr.targets.postgresql.managed import ManagedPool
from tests.async_django.conftest import ALIAS
from tests.kinds.test_postgresql_asyncio import Cancelled
from tests.waiting import until, when

Declare = Callable[..., ManagedPool]


async def run(statement: str) -> None:
    async with await async_connections[ALIAS].cursor() as cursor:
        await cursor.execute(statement)


async def transact() -> None:
    async with async_atomic(ALIAS):
        await run("SET LOCAL work_mem = '1MB'")
        with suppress(ZeroDivisionError):
            async with async_atomic(ALIAS):
                await run("SELECT 1")
                raise ZeroDivisionError
        named = await async_connections[ALIAS].chunked_cursor()
        await named.execute("SELECT generate_series(1, 9)")
        await named.fetchmany(3)
        await named.close()
    await run("SET application_name = 'theirs'")


async def query() -> None:
    groups = QuerySet(Group).using(ALIAS)
    await groups.acount()
    async for group in groups.all():
        assert group.name
    async with async_atomic(ALIAS):
        await groups.filter(name="one").aupdate(name="one")
    named = await async_connections[ALIAS].chunked_cursor()
    await named.execute("SELECT generate_series(1, 9)")
    await named.fetchmany(3)
    await named.close()


async def request(view: Callable[[], Any]) -> None:
    """What Django makes of one: whatever becomes of the view, its end is told in another task."""
    try:
        await view()
    finally:
        await asyncio.gather(async_connections[ALIAS].close())


@pytest.mark.parametrize("waits", [False, True], ids=["served", "waiting"])
@pytest.mark.parametrize("view", [transact, query])
@pytest.mark.parametrize("mode", ["transaction", "session"])
def test_request_that_is_cancelled_at_whichever_step_loses_no_connection(  # P2 P3 P4
    declare: Declare, mode: str, view: Callable[[], Any], waits: bool
) -> None:
    managed = declare({"pool_mode": mode, "max_size": 1})
    with managed.connection() as conn:
        conn.execute("CREATE TABLE auth_group (id serial PRIMARY KEY, name varchar(150) UNIQUE)")
        conn.execute("INSERT INTO auth_group (name) VALUES ('one')")

    def greeted(**kwargs: Any) -> None:
        """Somebody listens, for whom a thread is asked."""

    connection_created.connect(greeted)
    at, went_on = 0, True
    while went_on:
        at += 1
        cancelled = Cancelled(at)
        held = managed.checkout() if waits else None
        if held is not None:
            # It comes back somewhere in the middle of the task's steps.
            held.entry.greeted = None
            timer = threading.Timer(0.001 * (at % 4), managed.put_back, [held])
            timer.start()
        # In transaction mode what leaves nothing in the session needs nobody's word.
        cancelled.run(view() if (mode, view) == ("transaction", query) else request(view))
        went_on = cancelled.steps >= at
        if held is not None:
            timer.join()
        until(
            lambda: managed.load()[1:] == (0, 0) and len(managed.pool._pool) == managed.pool._nconns, "all to be back"
        )
        with managed.connection(1.0) as conn:
            row = conn.execute("SELECT current_setting('application_name'), count(*) FROM pg_cursors").fetchone()
            assert row is not None
            assert row[0] != "theirs"
            assert row[1] == 0
    connection_created.disconnect(greeted)
    assert at > 5
    seen = managed.snapshot()
    assert (seen.reclaimed, seen.left_behind, seen.size) == (0, 0, 1)


@pytest.mark.parametrize("ending", ["COMMIT", "ROLLBACK"])
def test_transaction_whose_end_was_cancelled_is_nobody_s_to_go_on_in(  # P2 P4 P8
    declare: Declare, ending: str
) -> None:
    """The next ``async_atomic()`` would take itself for an inner one, and never commit."""
    managed = declare({"pool_mode": "transaction", "max_size": 1})

    async def main() -> None:
        with suppress(ZeroDivisionError):
            async with asyncio.timeout(4):
                with pytest.raises(TimeoutError):
                    async with asyncio.timeout(0.5), async_atomic(ALIAS):
                        await run("SELECT 1")
                        pid = async_connections[ALIAS].connection.info.backend_pid
                        os.kill(pid, signal.SIGSTOP)
                        if ending == "ROLLBACK":
                            raise ZeroDivisionError
        os.kill(pid, signal.SIGCONT)
        assert not async_connections[ALIAS].in_atomic_block
        async with async_atomic(ALIAS):
            await run("SELECT 1")
        await when(lambda: managed.load()[1:] == (0, 0))

    asyncio.run(main())


@pytest.mark.parametrize("fails", [False, pytest.param(True, marks=pytest.mark.long)])
@pytest.mark.parametrize("mode", ["transaction", pytest.param("session", marks=pytest.mark.long)])
def test_inner_block_that_is_cancelled_is_undone_whoever_goes_on(
    declare: Declare, mode: str, fails: bool
) -> None:  # P2
    """As where an `asyncio.timeout()` inside of a transaction is over: what it has ended is not in the outer one's commit."""
    managed = declare({"pool_mode": mode, "max_size": 1})
    with managed.connection() as conn:
        conn.execute("CREATE TABLE made (word text)")

    async def inner() -> str:
        async with async_atomic(ALIAS):
            await run("INSERT INTO made VALUES ('inner')")
            if fails:
                raise ZeroDivisionError
        return "done"

    async def outer(cancelled: Cancelled) -> str:
        how = "failed"
        async with async_atomic(ALIAS):
            await run("INSERT INTO made VALUES ('outer')")
            with suppress(asyncio.CancelledError, ZeroDivisionError):
                how = await cancelled.here(inner())
        await async_connections[ALIAS].close()
        return how

    at, went_on = 0, True
    while went_on:
        at += 1
        with managed.connection() as conn:
            conn.execute("TRUNCATE made")
        cancelled = Cancelled(at)
        how = asyncio.run(outer(cancelled))
        went_on = cancelled.steps >= at
        with managed.connection() as conn:
            words = {row[0] for row in conn.execute("SELECT word FROM made")}
        assert words in ((set(), {"outer"}) if how == "failed" else ({"inner", "outer"},)), at
    assert at > 3


def test_query_given_up_by_a_task_that_goes_on_keeps_nothing(declare: Declare) -> None:  # P4
    managed = declare({"pool_mode": "transaction", "max_size": 1})
    groups = QuerySet(Group).using(ALIAS)

    async def main() -> None:
        with managed.connection() as conn:
            conn.execute("CREATE TABLE auth_group (id serial PRIMARY KEY, name varchar(150) UNIQUE)")
            conn.execute("INSERT INTO auth_group (name) VALUES ('one')")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await groups.extra(where=["pg_sleep(60) IS NOT NULL"]).acount()
        # The model's turn: the task waits for it, and the connection is others'.
        await when(lambda: managed.load()[1:] == (0, 0))

    asyncio.run(main())
    assert managed.snapshot().reclaimed == 0


def test_cancelled_task_gives_back_at_once_what_session_mode_had_it_keep(declare: Declare) -> None:  # P4
    managed = declare({"pool_mode": "session", "max_size": 1})

    async def hold(begun: asyncio.Event) -> None:
        await run("SELECT 1")
        begun.set()
        await asyncio.sleep(60)

    async def main() -> None:
        for _ in range(3):
            begun = asyncio.Event()
            holding = asyncio.create_task(hold(begun))
            await begun.wait()
            assert managed.load().used == 1
            holding.cancel()
            await asyncio.wait([holding])
            await asyncio.sleep(0)
            assert managed.load()[1:] == (0, 0)

    asyncio.run(main())
    seen = managed.snapshot()
    assert (seen.reclaimed, seen.created) == (0, 1)


def test_connection_of_one_s_own_that_nobody_could_close_comes_back(declare: Declare) -> None:  # P4
    """The package closes it in a task that a cancellation may end before it begins."""
    managed = declare({"pool_mode": "session", "max_size": 1})

    async def main() -> None:
        async with async_new_connection():
            await run("SELECT 1")
            async_connections[ALIAS] = async_connections.create_connection(ALIAS)  # the other is nobody's
        gc.collect()
        await when(lambda: managed.load()[1:] == (0, 0))

    asyncio.run(main())
    seen = managed.snapshot()
    assert (seen.reclaimed, seen.created) == (0, 1)


@pytest.mark.long
def test_task_that_ends_without_a_word_gives_back_within_five_seconds(declare: Declare) -> None:  # P4
    managed = declare({"pool_mode": "session", "max_size": 2})

    async def main() -> None:
        await asyncio.create_task(run("SELECT 1"))
        leaving = asyncio.create_task(leave())
        await asyncio.wait([leaving])
        await when(lambda: managed.load()[1:] == (0, 0), timeout=5.0)

    async def leave() -> None:
        async with async_new_connection():
            await run("SELECT 1")
            asyncio.current_task().cancel()  # type: ignore[union-attr]

    asyncio.run(main())
    gc.collect()
