"""asyncpg's pool in front of a PgBouncer that pools by transaction."""

import asyncio
import logging
from collections import Counter
from collections.abc import Callable
from typing import Any

import asyncpg
import pytest

from poolmgr.targets.asyncpg.arguments import of_url
from poolmgr.targets.asyncpg.making import Maker
from poolmgr.targets.asyncpg.pool import AsyncpgPool
from tests.bouncer import Bouncer

pytestmark = pytest.mark.long

TASKS = 6


@pytest.fixture(scope="module")
def bouncer(make_bouncer: Callable[..., Bouncer]) -> Bouncer:
    return make_bouncer({"app": "pool_size=2"}, pool_mode="transaction")


def _served(url: str, **options: Any) -> Counter[Any]:
    """What became of the queries of tasks that share two server connections."""
    pool = AsyncpgPool(Maker(of_url(url, options)), pool={"max_size": TASKS, "connection_timeout": 5.0})
    came: Counter[Any] = Counter()

    async def use(number: int) -> None:
        for _ in range(30):
            try:
                async with pool.acquire() as conn:
                    assert await conn.fetchval("SELECT $1::int", number) == number
                    async with conn.transaction():
                        assert await conn.fetchval("SELECT $1::int + 1", number) == number + 1
                        await asyncio.sleep(0.001)
                came["served"] += 1
            except asyncpg.PostgresError as ex:
                came[type(ex)] += 1

    async def main() -> None:
        await asyncio.gather(*map(use, range(TASKS)))
        assert len(pool.managed.idle) == pool.managed.places

    asyncio.run(main())
    return came


def test_prepared_statements_are_lost_below_version_1_21_unless_asyncpg_keeps_none(bouncer: Bouncer) -> None:
    came = _served(bouncer.url())
    if bouncer.version < (1, 21):
        assert came[asyncpg.InvalidSQLStatementNameError] + came[asyncpg.DuplicatePreparedStatementError] > 0
    else:
        assert came == {"served": TASKS * 30}
    assert _served(bouncer.url(), statement_cache_size=0) == {"served": TASKS * 30}


def test_what_a_borrower_sets_is_not_kept_there(bouncer: Bouncer) -> None:
    pool = AsyncpgPool(Maker(of_url(bouncer.url(), {"statement_cache_size": 0})), pool={"max_size": 2})

    async def main() -> None:
        async with pool.acquire() as conn, pool.acquire() as other:
            await conn.execute("SET work_mem = '77MB'")
            async with other.transaction():
                # The one server connection that was used is this one's now, with what is on it.
                assert await other.fetchval("SHOW work_mem") == "77MB"
                assert await conn.fetchval("SHOW work_mem") != "77MB"

    asyncio.run(main())


def test_what_a_borrower_has_left_is_wiped_from_nobody_else_s_connection(
    bouncer: Bouncer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    pool = AsyncpgPool(Maker(of_url(bouncer.url(), {"statement_cache_size": 0})), pool={"max_size": 1})

    async def main() -> None:
        somebody = await asyncpg.connect(bouncer.url(), statement_cache_size=0)
        await somebody.execute("CREATE TEMPORARY TABLE somebody_s (word text)")
        for _ in range(3):
            async with pool.acquire() as conn:
                assert await conn.fetchval("SHOW TIME ZONE") != "Asia/Kolkata"
                await conn.execute("SET TIME ZONE 'Asia/Kolkata'; SELECT nextval(NULL)")
        assert await somebody.fetchval("SELECT to_regclass('pg_temp.somebody_s') IS NOT NULL")
        await somebody.close()
        assert pool.managed.snapshot().cleaned == 0

    asyncio.run(main())
    assert "has left: SET, sequence" in caplog.text


def test_a_validation_query_gives_up_no_lock_of_somebody_else_s(bouncer: Bouncer) -> None:
    settings = {"max_size": 1, "validation": "query", "validation_query": "SELECT 2"}
    pool = AsyncpgPool(Maker(of_url(bouncer.url(), {"statement_cache_size": 0})), pool=settings)

    async def main() -> None:
        somebody = await asyncpg.connect(bouncer.url(), statement_cache_size=0)
        async with pool.acquire() as conn:
            await conn.execute("SELECT 1")
        await somebody.execute("SELECT pg_advisory_lock(4812)")
        async with pool.acquire() as conn:
            await conn.execute("SELECT 1")
        assert await somebody.fetchval("SELECT pg_advisory_unlock(4812)")
        await somebody.close()

    asyncio.run(main())
