"""Tasks' connections while their server loses them, and while their pool is paused, recycled, resized and closed."""

import asyncio
from collections.abc import Callable
from time import monotonic
from typing import Any

import pytest
from django.db import OperationalError
from django_async_backend.db import async_connections, async_new_connection
from django_async_backend.db.transaction import async_atomic

from poolmgr.targets.postgresql.managed import ManagedPool
from tests import pools
from tests.async_django.conftest import ALIAS
from tests.waiting import until

Declare = Callable[..., ManagedPool]


async def one(statement: str, *parameters: Any) -> Any:
    async with await async_connections[ALIAS].cursor() as cursor:
        await cursor.execute(statement, parameters or None)
        return (await cursor.fetchone())[0]


async def kill_all() -> None:
    url = "postgresql://{USER}:{PASSWORD}@{HOST}:{PORT}/{NAME}".format(**async_connections.settings[ALIAS])
    await asyncio.to_thread(pools.kill_backends, url)
    await asyncio.to_thread(until, lambda: not pools.backends(url), "the end of the sessions")


@pytest.mark.parametrize("mode", ["transaction", "session"])
def test_connection_that_the_server_ended_is_told_where_it_was_used_alone(declare: Declare, mode: str) -> None:  # P2 P7
    managed = declare({"pool_mode": mode, "max_size": 2})

    async def main() -> None:
        conn = async_connections[ALIAS]
        await one("SELECT 1")
        await kill_all()
        if mode == "session":
            with pytest.raises(OperationalError):
                await one("SELECT 1")
            await conn.close()
        assert await one("SELECT 1") == 1
        with pytest.raises(OperationalError):
            async with async_atomic(ALIAS):
                await one("SELECT 1")
                await kill_all()
                await one("SELECT 1")
        if mode == "session":
            await conn.close()
        assert not conn.in_atomic_block
        assert await one("SELECT 1") == 1
        await conn.close()

    asyncio.run(main())
    assert managed.load()[1:] == (0, 0)


def test_pool_that_is_closed_fails_nobody(declare: Declare) -> None:  # P5
    declare({"pool_mode": "transaction"})

    async def main() -> None:
        conn = async_connections[ALIAS]
        assert await one("SELECT 1") == 1
        await conn.close_pool()
        assert await one("SELECT 2") == 2
        async with async_atomic(ALIAS):
            pid = await one("SELECT pg_backend_pid()")
            await conn.close_pool()
            assert await one("SELECT pg_backend_pid()") == pid
        assert await one("SELECT pg_backend_pid()") != pid

    asyncio.run(main())


@pytest.mark.long
def test_tasks_some_of_which_are_given_up_meet_nothing_of_what_operators_do(declare: Declare) -> None:  # P2 P3 P4 P5
    managed = declare({"pool_mode": "transaction", "max_size": 4})
    wrong: list[Any] = []

    async def work(number: int, ends: float) -> None:
        while monotonic() < ends:
            try:
                async with asyncio.timeout(0.02 if number % 5 == 0 else 10), async_atomic(ALIAS):
                    await one("SELECT set_config('application_name', %s, true)", f"task {number}")
                    if (found := await one("SELECT current_setting('application_name')")) != f"task {number}":
                        wrong.append((number, found))
                if (found := await one("SELECT %s", number)) != number:
                    wrong.append((number, found))
            except TimeoutError:
                if number % 5:
                    wrong.append((number, "late"))

    async def main() -> None:
        ends = monotonic() + 4
        async with asyncio.TaskGroup() as tasks:
            for number in range(20):
                tasks.create_task(async_new_connection(work(number, ends)))
            for turn in range(6):
                await asyncio.to_thread(managed.recycle, 5.0)
                managed.pause()
                await asyncio.sleep(0.05)
                managed.resume()
                pools.change(managed, max_size=2 + turn % 4)
                await asyncio.sleep(0.2)

    asyncio.run(main())
    assert wrong == []
    until(lambda: managed.load()[1:] == (0, 0))
    seen = managed.snapshot()
    assert (seen.reclaimed, seen.left_behind) == (0, 0)
