"""`poolmgr.aio.pool("default")`: Django's own pool in the hands of tasks."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import Group

import poolmgr.aio
from poolmgr import exceptions
from poolmgr.pools import registry
from tests.integration.backend import query

Small = Callable[..., Any]


async def pid_of(conn: Any) -> int:
    return int((await (await conn.execute("SELECT pg_backend_pid()")).fetchone())[0])


def test_tasks_and_django_have_one_pool(small_pool: Small) -> None:  # P3 P6
    managed = small_pool("transaction")
    pool = poolmgr.aio.pool("default")
    assert poolmgr.aio.pool("default") is pool
    django_s = query("SELECT pg_backend_pid()")

    async def main() -> None:
        async with pool.connection() as conn:
            assert await pid_of(conn) == django_s[0][0]
            await conn.execute("INSERT INTO auth_group (name) VALUES ('kept')")
            assert "main" in managed.snapshot().holders[0].thread
            with pytest.raises(exceptions.PoolExhausted):
                await pool.checkout(0.05)
        # psycopg's values, where Django reads jsonb as text.
        async with pool.connection() as conn:
            assert (await (await conn.execute("SELECT '[1]'::jsonb")).fetchone())[0] == [1]
        assert await sync_to_async(Group.objects.count)() == 1

    asyncio.run(main())
    assert Group.objects.get().name == "kept"


def test_pool_that_was_closed_is_made_anew_and_counts_what_is_out(small_pool: Small) -> None:  # P6
    small_pool("transaction")
    pool = poolmgr.aio.pool("default")

    async def main() -> None:
        async with pool.connection() as conn:
            first = await pid_of(conn)
            await asyncio.to_thread(registry.close, "default")
            with pytest.raises(exceptions.PoolExhausted):
                await pool.checkout(0.05)
            assert await pid_of(conn) == first
        async with pool.connection() as conn:
            assert await pid_of(conn) != first

    asyncio.run(main())
