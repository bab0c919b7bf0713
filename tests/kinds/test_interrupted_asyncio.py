"""An exception that comes between any two steps of an event loop's own thread, as one out of a signal handler may."""

import asyncio
import gc
import logging
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from time import monotonic
from typing import Any

import psycopg
import pytest
from sqlalchemy.util import greenlet_spawn

from poolmgr.exceptions import CheckoutError
from poolmgr.targets.asyncpg.arguments import of_url
from poolmgr.targets.asyncpg.making import Maker
from poolmgr.targets.asyncpg.pool import AsyncpgPool
from poolmgr.targets.redis.asyncio import AsyncManagedConnectionPool
from poolmgr.targets.sqlalchemy import create_async_engine
from poolsite.demo.servers import EmbeddedPostgres, EmbeddedRedis
from tests import pools
from tests.kinds.subjects import DATABASE
from tests.kinds.test_asyncpg import SESSIONS
from tests.kinds.test_interrupted import AT_A_TIME, Interrupted, interrupted_at, is_whole
from tests.sampling import steps
from tests.waiting import when

#: Longer than anything may take to come right, so that no time-out of the pool's is what helped.
SETTINGS = {"max_size": 2, "min_size": 0, "connection_timeout": 20.0}
MODULES = ("poolmgr.",)
#: A borrower that has ended is noticed after 1.5 seconds' silence, and books that are wrong in three rounds, of a second each.
BOUND = 10.0


class OnRedis:
    def __init__(self, url: str) -> None:
        self.front = AsyncManagedConnectionPool.from_url(url, pool=SETTINGS)
        self.pool = self.front.managed

    async def borrow(self) -> Any:
        return await self.front.get_connection()

    async def give_back(self, conn: Any) -> None:
        await self.front.release(conn)

    async def break_off(self, conn: Any) -> None:
        await conn.disconnect()

    async def soil(self, conn: Any) -> None:
        await conn.send_command("MULTI")
        await conn.read_response()


class OnAlchemy:
    def __init__(self, url: str) -> None:
        self.engine = create_async_engine("", url, pool=SETTINGS)
        self.pool = self.engine.pool.managed

    async def borrow(self) -> Any:
        return await self.engine.raw_connection()

    async def give_back(self, conn: Any) -> None:
        await greenlet_spawn(conn.close)

    async def break_off(self, conn: Any) -> None:
        driver_s = conn.driver_connection
        driver_s.terminate() if hasattr(driver_s, "terminate") else driver_s.pgconn.finish()

    async def soil(self, conn: Any) -> None:
        await conn.driver_connection.execute("BEGIN")


class OnAsyncpg:
    def __init__(self, url: str) -> None:
        self.front = AsyncpgPool(Maker(of_url(url, {})), pool=SETTINGS)
        self.pool = self.front.managed

    async def borrow(self) -> Any:
        return await self.front.acquire()

    async def give_back(self, conn: Any) -> None:
        await self.front.release(conn)

    async def break_off(self, conn: Any) -> None:
        conn.terminate()

    async def soil(self, conn: Any) -> None:
        await conn.execute("SET work_mem = '1MB'; BEGIN")


async def use(subject: Any) -> None:
    """As the sync kinds are used."""
    one, two = await subject.borrow(), await subject.borrow()
    await subject.give_back(one)
    await subject.break_off(two)
    await subject.give_back(two)
    three = await subject.borrow()
    await subject.soil(three)
    await subject.give_back(three)


async def interrupt(subject: Any, step: int) -> bool:
    """Use it in a task, which may go wrong in any way but hang; whether the step was reached."""
    task = asyncio.ensure_future(use(subject))
    with suppress(Interrupted), interrupted_at(step, MODULES) as done:
        await asyncio.wait([task], timeout=BOUND)
    assert task.done(), step
    # Who logs an error keeps its frames, which refer to the connection.
    with suppress(Interrupted, CheckoutError, Exception):
        task.result()
    return done[0] >= step


async def is_whole_within(seconds: float, subject: Any) -> bool:
    ends = monotonic() + seconds
    while not (whole := is_whole(subject.pool)) and monotonic() < ends:
        await asyncio.sleep(0.005)
    return whole


async def comes_right(subject: Any, step: int) -> None:
    assert await is_whole_within(BOUND, subject), (step, subject.pool.snapshot())
    held = [await subject.borrow(), await subject.borrow()]
    for each in held:
        await subject.give_back(each)
    await asyncio.to_thread(subject.pool.close)


@pytest.fixture(params=["redis", "asyncpg", "sqlalchemy+asyncpg", "sqlalchemy+psycopg"])
def make(request: Any, postgres: EmbeddedPostgres, redis_server: EmbeddedRedis) -> Iterator[Callable[[], Any]]:
    if request.param == "redis":
        yield partial(OnRedis, redis_server.url(DATABASE))
        return
    url = pools.emptied(postgres.create_database("kinds"))
    if request.param == "asyncpg":
        yield partial(OnAsyncpg, url)
    else:
        yield partial(
            OnAlchemy, url.replace("postgresql://", f"{request.param}://".replace("sqlalchemy", "postgresql"))
        )
    pools.emptied(url)


@pytest.mark.timeout(300)
@pytest.mark.long
@pytest.mark.filterwarnings("ignore")  # of coroutines that were never awaited, which is what is tested
def test_an_exception_between_any_two_steps_of_a_loop_s_thread_costs_no_place(
    make: Callable[[], Any], caplog: pytest.LogCaptureFixture
) -> None:  # P3 P4
    caplog.set_level(logging.CRITICAL)

    async def main() -> int:
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: None)
        hurt: list[tuple[Any, int]] = []
        subject = make()
        for step in steps():
            if not await interrupt(subject, step):
                break
            if not await is_whole_within(0.1, subject):
                hurt.append((subject, step))
                subject = make()
            if len(hurt) == AT_A_TIME:
                await asyncio.gather(*(comes_right(*each) for each in hurt))
                hurt.clear()
        await asyncio.gather(*(comes_right(*each) for each in hurt))
        await asyncio.to_thread(subject.pool.close)
        return step

    assert asyncio.run(main()) > 100


@pytest.fixture
def uncollected() -> Iterator[None]:
    gc.disable()
    yield
    gc.enable()


@pytest.mark.timeout(300)
@pytest.mark.long
@pytest.mark.usefixtures("uncollected")
@pytest.mark.filterwarnings("ignore")  # of what was interrupted before it was whole
def test_a_connect_that_is_interrupted_leaves_no_session(
    postgres: EmbeddedPostgres, caplog: pytest.LogCaptureFixture
) -> None:  # P6
    caplog.set_level(logging.CRITICAL)
    url = pools.emptied(postgres.create_database("kinds"))

    def sessions() -> int:
        return onlooker.execute(SESSIONS.encode()).rowcount

    async def main() -> int:
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: None)
        maker = Maker(of_url(url, {}))
        for step in steps():
            task = asyncio.ensure_future(maker(BOUND))
            with suppress(Interrupted), interrupted_at(step, ("asyncpg.", "poolmgr.targets.asyncpg.")) as done:
                await asyncio.wait([task], timeout=BOUND)
            if (error := task.exception()) is None:
                task.result().let_go_unheard()
            await when(lambda: not sessions(), f"step {step}: the session to end, although {error!r} is kept,")
            if done[0] < step:
                break
        return step

    with psycopg.connect(url, autocommit=True) as onlooker:
        assert asyncio.run(main()) > 100
