"""What tasks use Django's connections for."""

import asyncio
from collections.abc import Callable

import pytest
from django_async_backend.db import async_connections
from django_async_backend.db.transaction import async_atomic

from poolmgr.metrics.uses import Spent
from poolmgr.pools.labels import Label, labelled
from poolmgr.targets.postgresql.managed import ManagedPool
from tests.async_django.conftest import ALIAS
from tests.async_django.test_wrapper import Declare, run
from tests.waiting import when

#: Seconds that something takes below, and what that is found to be at the least.
LONG, FOUND = 0.3, 0.29


async def passes() -> None:
    """As a call of a model does that has nothing to do with the database."""
    loop = asyncio.get_running_loop()
    ends = loop.time() + LONG
    await when(lambda: loop.time() >= ends)


def spent(managed: ManagedPool, work: Callable[[], object]) -> Spent:
    async def main() -> None:
        with labelled(Label("view", "GET /awaited/")):
            await work()  # type: ignore[misc]
            await async_connections[ALIAS].close()

    asyncio.run(main())
    return next(use.recent for use in managed.snapshot().uses if use.name == "GET /awaited/")


async def searches() -> None:
    await run("SELECT 1")
    await passes()
    await run("SELECT 1")


def test_what_is_held_while_nothing_needs_it_is_elsewhere_and_nothing_to_transaction_mode(declare: Declare) -> None:
    found = spent(declare({"pool_mode": "session"}), searches)
    assert (found.count, found.elsewhere >= FOUND) == (1, True)
    assert 0 < found.sql < found.held - FOUND


@pytest.mark.long
def test_transaction_mode_holds_nothing_meanwhile(declare: Declare) -> None:
    found = spent(declare({"pool_mode": "transaction"}), searches)
    assert (found.count, found.held < LONG) == (2, True)


@pytest.mark.long
@pytest.mark.parametrize("mode", ["session", "transaction"])
def test_a_transaction_or_a_cursor_kept_open_is_told_and_so_is_sql(declare: Declare, mode: str) -> None:
    async def works() -> None:
        async with async_atomic(ALIAS):
            await run(f"SELECT pg_sleep({LONG})")
            await passes()
        async with await async_connections[ALIAS].cursor() as cursor:
            await cursor.execute("SELECT 1")
            await passes()

    found = spent(declare({"pool_mode": mode}), works)
    assert found.sql >= FOUND
    assert found.kept >= 2 * FOUND
