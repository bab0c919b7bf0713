"""Async generators that nobody finishes: the event loop ends them, in the context in which they are collected."""

import asyncio
import gc
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
from django.db.transaction import TransactionManagementError
from django_async_backend.db import async_connections, async_new_connection
from django_async_backend.db.transaction import async_atomic

from poolmgr.targets.postgresql.managed import ManagedPool
from tests.async_django.conftest import ALIAS
from tests.async_django.test_wrapper import Declare, is_free, one, pid, run
from tests.waiting import until, when

MODES = ["transaction", pytest.param("session", marks=pytest.mark.long)]


@pytest.fixture
def made(declare: Declare) -> Iterator[Callable[[str], tuple[ManagedPool, Callable[[], list[str]]]]]:
    """made(mode): a pool, and what tells the words that its table has. Nothing is collected but when the test says so."""
    gc.collect()
    gc.disable()

    def make(mode: str) -> tuple[ManagedPool, Callable[[], list[str]]]:
        managed = declare({"pool_mode": mode, "max_size": 4})

        def words() -> list[str]:
            with managed.connection() as conn:
                return sorted(row[0] for row in conn.execute("SELECT word FROM made"))

        with managed.connection() as conn:
            conn.execute("CREATE TABLE made (word text)")
        return managed, words

    yield make
    gc.enable()


async def transacting() -> AsyncIterator[int]:
    async with async_atomic(ALIAS):
        await run("INSERT INTO made VALUES ('unfinished')")
        while True:
            yield await one("SELECT 1")


async def apart() -> AsyncIterator[int]:
    async with async_new_connection():
        while True:
            yield await one("SELECT 1")


async def left_in_a_circle(generator: Callable[[], AsyncIterator[int]]) -> None:
    """As the frames of an error do, what refers to it keeps itself."""
    it = generator()
    await anext(it)
    circle: list[Any] = [it]
    circle.append(circle)


async def collected() -> None:
    """In the context of whoever calls this."""
    before = asyncio.all_tasks()
    gc.collect()
    await asyncio.sleep(0)
    await asyncio.gather(*(asyncio.all_tasks() - before), return_exceptions=True)


@pytest.mark.parametrize("generator", [transacting, apart])
@pytest.mark.parametrize("mode", MODES)
def test_generator_collected_in_another_s_transaction_leaves_that_alone(  # P2 P3 P4
    made: Callable[[str], Any], mode: str, generator: Callable[[], AsyncIterator[int]]
) -> None:
    managed, words = made(mode)

    async def transact() -> None:
        await one("SELECT 1")
        with pytest.raises(ZeroDivisionError):
            async with async_atomic(ALIAS):
                await collected()
                await run("INSERT INTO made VALUES ('undone')")
                raise ZeroDivisionError
        await async_connections[ALIAS].close()

    async def query() -> None:
        """In session mode what was set is there still."""
        await run("SET work_mem = '777kB'")
        await collected()
        assert await one("SHOW work_mem") == "777kB"
        await async_connections[ALIAS].close()

    async def main(work: Callable[[], Any]) -> None:
        await asyncio.gather(left_in_a_circle(generator))
        await asyncio.gather(work())

    for work in (transact, query):
        asyncio.run(main(work))
    until(lambda: is_free(managed), "all to be back")
    assert words() == []


@pytest.mark.parametrize("mode", MODES)
def test_task_that_breaks_out_of_a_transaction_goes_on_without_it(made: Callable[[str], Any], mode: str) -> None:  # P2
    managed, words = made(mode)

    async def breaks_out() -> None:
        async for _ in transacting():
            break
        await collected()

    async def main() -> None:
        await breaks_out()
        await when(lambda: is_free(managed), "it to be given up")
        assert await pid()
        async with async_atomic(ALIAS):
            await run("INSERT INTO made VALUES ('kept')")
        with pytest.raises(TransactionManagementError):
            async with async_atomic(ALIAS):
                await run("INSERT INTO made VALUES ('outer')")
                await breaks_out()
                await run("INSERT INTO made VALUES ('more')")
        assert await one("SELECT 1") == 1
        await async_connections[ALIAS].close()

    asyncio.run(main())
    until(lambda: is_free(managed), "all to be back")
    assert words() == ["kept"]
