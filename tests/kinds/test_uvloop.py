"""Pools for event loops on uvloop's, which closes its sockets at other moments than asyncio's."""

import asyncio
from collections.abc import Callable
from typing import Any

import psycopg
import pytest
import uvloop

from poolmgr.targets.asyncpg.arguments import of_url
from poolmgr.targets.asyncpg.making import Maker
from poolmgr.targets.asyncpg.pool import AsyncpgPool
from poolmgr.targets.sqlalchemy import create_async_engine
from tests import pools
from tests.sampling import first_always
from tests.waiting import until

SLEEP = "SELECT pg_sleep(60)"


async def _asyncpg(url: str) -> tuple[Any, Any, Any]:
    pool = AsyncpgPool(Maker(of_url(url, {})), pool={"max_size": 1})
    conn = await pool.acquire()
    return pool, conn, conn


async def _sqlalchemy(url: str) -> tuple[Any, Any, Any]:
    engine = create_async_engine("", url.replace("postgresql://", "postgresql+asyncpg://"), pool={"max_size": 1})
    conn = await engine.raw_connection()
    return engine, conn, conn.driver_connection


WAYS: dict[str, Callable[[str], Any]] = {"asyncpg": _asyncpg, "sqlalchemy": _sqlalchemy}


@pytest.mark.parametrize("way", first_always(*WAYS))
def test_statement_of_a_loop_that_was_closed_without_an_end_is_stopped(way: str, postgres: Any) -> None:  # P4
    url = str(postgres.create_database("kinds"))
    loop, kept = uvloop.new_event_loop(), []

    async def begin() -> None:
        kept.append(await WAYS[way](url))
        kept.append(task := asyncio.ensure_future(kept[0][2].execute(SLEEP)))
        task._log_destroy_pending = False  # type: ignore[attr-defined]
        async with asyncio.timeout(10):
            while not await asyncio.to_thread(_at_work, url):
                await asyncio.sleep(0.01)

    loop.run_until_complete(begin())
    loop.close()
    until(lambda: not pools.backends(url), "the statement, and its session, to end")


@pytest.mark.long
def test_what_a_borrower_leaves_is_wiped_and_a_statement_that_is_cancelled_costs_nothing(  # P2 P4
    postgres: Any,
) -> None:
    async def main() -> None:
        pool, conn, _ = await _asyncpg(str(postgres.create_database("kinds")))
        await conn.execute("SET work_mem = '77MB'")
        await pool.release(conn)
        assert await pool.fetchval("SHOW work_mem") != "77MB"
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await pool.execute(SLEEP)
        assert await pool.fetchval("SELECT 1") == 1
        seen = pool.managed.snapshot()
        assert (seen.created, seen.left_behind) == (1, 0)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())


def _at_work(url: str) -> bool:
    with psycopg.connect(url, autocommit=True, application_name=pools.ONLOOKER) as look:
        query = "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query = %s"
        row = look.execute(query, [SLEEP]).fetchone()
        return bool(row and row[0])
