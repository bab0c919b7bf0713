"""Pools of SQLAlchemy and asyncpg behind a PgBouncer, which tells its clients numbers of its own making for processes."""

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack, ExitStack
from typing import Any

import pytest

from poolmgr.metrics.snapshot import PoolSnapshot, ProcessBeat
from poolmgr.targets.asyncpg.arguments import of_url
from poolmgr.targets.asyncpg.making import Maker
from poolmgr.targets.asyncpg.pool import AsyncpgPool
from poolmgr.targets.sqlalchemy.engines import create_engine
from tests.agents import without_agent
from tests.bouncer import Bouncer

#: Of so many numbers of 32 bits some are surely more than a process can have, and some less than nothing.
CONNECTIONS = 12
#: One in five hundred could be a process's, and can't be told from it.
FEW = 3


@pytest.fixture(scope="module")
def bouncer(make_bouncer: Callable[..., Bouncer]) -> Bouncer:
    return make_bouncer({"app": ""}, pool_mode="session")


@pytest.fixture(autouse=True)
def no_agent(settings: Any) -> None:
    settings.POOLMGR = {**settings.POOLMGR, "AGENT": False}
    without_agent()


def believed(pool: PoolSnapshot) -> PoolSnapshot:
    """As others of the fleet read it in a heartbeat."""
    made = ProcessBeat(uid="u", host="h", pid=1, role="web", started=0.0, at=0.0, name="n", pools=(pool,))
    return ProcessBeat.from_json(made.to_json()).pools[0]


def test_an_engine_of_sqlalchemy_tells_no_process_that_is_none(bouncer: Bouncer) -> None:
    engine = create_engine("behind", bouncer.url().replace("://", "+psycopg://"), pool={"max_size": CONNECTIONS})
    try:
        with ExitStack() as stack:
            for _ in range(CONNECTIONS):
                stack.enter_context(engine.connect())
            found = believed(engine.pool.managed.snapshot())
    finally:
        engine.dispose()
    assert found.used == CONNECTIONS
    assert len(found.backend_pids) < FEW


def test_a_pool_of_asyncpg_tells_no_process_that_is_none(bouncer: Bouncer) -> None:
    pool = AsyncpgPool(Maker(of_url(bouncer.url(), {})), pool={"max_size": CONNECTIONS, "connection_timeout": 5.0})

    async def main() -> PoolSnapshot:
        async with AsyncExitStack() as stack:
            for _ in range(CONNECTIONS):
                await stack.enter_async_context(pool.acquire())
            return believed(pool.managed.snapshot())

    found = asyncio.run(main())
    assert found.used == CONNECTIONS
    assert len(found.backend_pids) < FEW
