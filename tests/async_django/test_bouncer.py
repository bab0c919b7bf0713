"""Tasks' connections through a PgBouncer, in each mode of ours and of its."""

import asyncio
from collections.abc import Callable
from time import monotonic
from typing import Any

import pytest
from django.db import DatabaseError
from django_async_backend.db import async_connections, async_new_connection
from django_async_backend.db.transaction import async_atomic

from tests import pools
from tests.async_django.conftest import ALIAS
from tests.async_django.test_wrapper import Declare, one, run
from tests.bouncer import Bouncer
from tests.waiting import until

MODES = ("session", "transaction", "statement")

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def bouncer(make_bouncer: Callable[..., Bouncer]) -> Bouncer:
    return make_bouncer({mode: f"pool_mode={mode}" for mode in MODES}, default_pool_size=3)


@pytest.mark.parametrize("theirs", MODES)
@pytest.mark.parametrize("ours", ["session", "transaction", "statement"])
def test_tasks_some_of_which_are_given_up_meet_nothing_of_each_other(  # P2 P3 P4 P8
    declare: Declare, bouncer: Bouncer, ours: str, theirs: str
) -> None:
    managed = declare({"pool_mode": ours, "max_size": 4}, **pools.address(bouncer.url(theirs)))
    wrong: list[Any] = []

    async def is_broken_off(number: int) -> None:
        try:
            async with async_atomic(ALIAS):
                await run("SELECT 1")
        except DatabaseError as error:
            if "transaction blocks not allowed in statement pooling mode" not in str(error):
                wrong.append((number, error))
        else:
            wrong.append((number, "a transaction"))

    async def transact(number: int) -> None:
        if theirs == "statement":
            await is_broken_off(number)
            return
        async with async_atomic(ALIAS):
            await run(f"SET LOCAL application_name = 'task {number}'")
            if (found := await one("SELECT current_setting('application_name')")) != f"task {number}":
                wrong.append((number, found))

    async def work(number: int) -> None:
        if (found := await one("SELECT %s", number)) != number:
            wrong.append((number, found))
        if ours != "statement":
            await transact(number)
        if theirs == "session":
            await run(f"SET work_mem = '{100 + number}kB'")
            if (found := await one("SHOW work_mem")) != f"{100 + number}kB":
                wrong.append((number, found))
            await async_connections[ALIAS].close()
            if (found := await one("SHOW work_mem")).endswith("kB"):
                wrong.append((number, "somebody's", found))
        if number % 4 == 0:
            await one("SELECT pg_sleep(0.1)")

    async def go_on(number: int, ends: float) -> None:
        while monotonic() < ends:
            try:
                async with asyncio.timeout(0.04 if number % 4 == 0 else 20):
                    await async_new_connection(work(number))
            except TimeoutError:
                if number % 4:
                    wrong.append((number, "late"))

    async def main() -> None:
        ends = monotonic() + 2
        async with asyncio.TaskGroup() as tasks:
            for number in range(12):
                tasks.create_task(go_on(number, ends))

    asyncio.run(main())
    assert wrong == []
    until(lambda: managed.load()[1:] == (0, 0), "all to be back")
    seen = managed.snapshot()
    assert (seen.reclaimed, seen.left_behind) == (0, 0)
