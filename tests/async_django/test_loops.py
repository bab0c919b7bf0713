"""Several event loops, one that is closed in the middle, and tasks that end together."""

import asyncio
import gc
from functools import partial
from time import monotonic
from typing import Any
from weakref import ref

import pytest
from django_async_backend.db import async_new_connection
from django_async_backend.db.transaction import async_atomic

import poolmgr
from tests.async_django.conftest import ALIAS
from tests.async_django.test_wrapper import Declare, is_free, one, run
from tests.threads import at_once
from tests.waiting import until, when

pytestmark = [pytest.mark.long, pytest.mark.parametrize("mode", ["session", "transaction"])]


async def held() -> None:
    async with async_atomic(ALIAS):
        await run("SET LOCAL work_mem = '1MB'")
        await asyncio.sleep(60)


async def held_apart() -> None:
    async with poolmgr.unpooled(ALIAS):
        await run("SELECT 1")
        await asyncio.sleep(60)


async def asked() -> None:
    async with async_new_connection():
        await one("SELECT pg_sleep(60)")


def test_tasks_of_several_loops_share_the_pool_and_nothing_else(declare: Declare, mode: str) -> None:  # P2 P3 P4 P6
    managed = declare({"pool_mode": mode, "max_size": 3})

    async def transact(name: str) -> str:
        async with async_new_connection(), async_atomic(ALIAS):
            await run(f"SET LOCAL application_name = '{name}'")
            await asyncio.sleep(0.001)
            return str(await one("SHOW application_name"))

    async def main(loop: int) -> None:
        names = [f"{loop}.{number}" for number in range(5)]
        for _ in range(10):
            assert await asyncio.gather(*map(transact, names)) == names

    assert at_once(*(partial(asyncio.run, main(loop)) for loop in range(3))) == [None] * 3
    until(lambda: is_free(managed), "all to be back")
    seen = managed.snapshot()
    assert seen.size <= 3
    assert (seen.reclaimed, seen.left_behind) == (0, 0)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning", "ignore::ResourceWarning")
def test_loop_that_is_closed_with_connections_out_keeps_none(declare: Declare, mode: str) -> None:  # P4
    managed = declare({"pool_mode": mode, "max_size": 2})
    tasks: list[asyncio.Task[None]] = []
    begun: list[ref[Any]] = []

    async def main() -> None:
        coroutines = [each() for each in (held, held_apart, asked)]
        begun.extend(map(ref, coroutines))
        tasks.extend(map(asyncio.ensure_future, coroutines))
        await when(lambda: managed.snapshot().used == 2, "both to be out")

    loop = asyncio.new_event_loop()
    loop.run_until_complete(main())
    loop.close()
    tasks.clear()
    gc.collect()
    until(lambda: is_free(managed), "both to be back", timeout=5.0)
    with managed.connection(5.0) as one_of_them, managed.connection(5.0) as other:
        assert one_of_them.execute("SELECT 1").fetchone() == other.execute("SELECT 1").fetchone() == (1,)
    # Each ends where it is collected, with errors of the package's, of which other tests are to see nothing.
    until(lambda: gc.collect() >= 0 and not any(each() for each in begun), "the coroutines to be gone")


def test_tasks_that_are_cancelled_since_one_of_them_failed_take_nothing_along(
    declare: Declare, mode: str
) -> None:  # P4 P8
    managed = declare({"pool_mode": mode, "max_size": 3})

    async def work(fails: bool) -> None:
        async with async_new_connection(), async_atomic(ALIAS):
            await run("SELECT 1")
            if fails:
                await when(lambda: managed.load().pending > 0, "others to wait")
                raise ZeroDivisionError
            await one("SELECT pg_sleep(60)")

    async def main() -> None:
        with pytest.RaisesGroup(ZeroDivisionError):
            async with asyncio.TaskGroup() as tasks:
                for number in range(6):
                    tasks.create_task(work(number == 0))
        assert is_free(managed)

    began = monotonic()
    asyncio.run(main())
    assert monotonic() - began < 20
    assert managed.snapshot().reclaimed == 0
