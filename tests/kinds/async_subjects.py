"""Pools of event loops, as the tests that all kinds pass see them: each thread of a test has a task that works for it."""

import asyncio
import os
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from contextlib import suppress
from typing import Any

import asyncpg
import sqlalchemy
from sqlalchemy.dialects.postgresql.asyncpg import AsyncAdapt_asyncpg_dbapi as asyncpg_s
from sqlalchemy.util import greenlet_spawn

from poolmgr.pools.labels import Label, current_label, set_label
from poolmgr.targets.asyncpg.arguments import of_url
from poolmgr.targets.asyncpg.finding import address_of
from poolmgr.targets.asyncpg.kind import ASYNCPG
from poolmgr.targets.asyncpg.making import Maker
from poolmgr.targets.asyncpg.pool import AsyncpgPool
from poolmgr.targets.postgresql.asyncio.pool import AsyncPool
from poolmgr.targets.redis.asyncio import AsyncManagedConnectionPool
from poolmgr.targets.sqlalchemy import create_async_engine
from poolmgr.targets.sqlalchemy.asyncio.pool import AsyncManagedQueuePool
from tests.kinds.subjects import Alchemy, Postgres, Redis, Subject

Make = Callable[[], Coroutine[Any, Any, Any]]


class Loop:
    """An event loop in a thread of its own. `close()` ends it as `asyncio.run()` does."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._mine = threading.local()
        self._pid = os.getpid()
        self._thread = threading.Thread(target=self._run, name="loop", daemon=True)
        self._thread.start()

    def do(self, make: Make) -> Any:
        """What the coroutine returns, in the task that works for this thread, which ends when this thread does."""
        if os.getpid() != self._pid:  # in a forked child there is no loop
            return _by_hand(make())
        if not hasattr(self._mine, "worker"):
            self._mine.worker = Worker(self.loop)
        return self._mine.worker.do(make)

    def close(self) -> None:
        self._mine = threading.local()
        if self._thread.is_alive():
            self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(20)

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self.loop) as runner:
            runner.get_loop().run_forever()


class Worker:
    """A task that does what it is given, until nobody has the worker any more."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._work: asyncio.Queue[tuple[Make, Future[Any], Label | None] | None] = asyncio.Queue()
        name = threading.current_thread().name
        asyncio.run_coroutine_threadsafe(_begin(self._work, name), loop).result(20)

    def do(self, make: Make) -> Any:
        done: Future[Any] = Future()
        self._loop.call_soon_threadsafe(self._work.put_nowait, (make, done, current_label()))
        return done.result(60)

    def __del__(self) -> None:
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._work.put_nowait, None)


async def _begin(work: "asyncio.Queue[Any]", name: str) -> None:
    _tasks.add(task := asyncio.create_task(_work_off(work), name=name))
    task.add_done_callback(_tasks.discard)


_tasks: set[Any] = set()


async def _work_off(work: "asyncio.Queue[Any]") -> None:
    while (given := await work.get()) is not None:
        make, done, label = given
        set_label(label)
        try:
            result = await make()
        except BaseException as ex:
            done.set_exception(ex)
            if not isinstance(ex, Exception):
                raise
            del ex
        else:
            done.set_result(result)
            del result
        del given, make, done


def _by_hand(coroutine: Coroutine[Any, Any, Any]) -> Any:
    try:
        coroutine.send(None)
    except StopIteration as ex:
        return ex.value
    raise AssertionError("it waits")


class InALoop(Subject):
    """Its borrowers are tasks of a loop that runs in a thread of its own."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.loop = Loop()

    def _use_pool_of(self, front: Any) -> None:
        async def managed() -> Any:
            return front.managed

        self.pool = self.loop.do(managed)
        self.opened.append(self.pool)

    def close(self) -> None:
        super().close()
        self.loop.close()


class AsyncRedis(InALoop, Redis):
    front: AsyncManagedConnectionPool

    def _open(self, url: str, settings: dict[str, Any]) -> None:
        self.front = AsyncManagedConnectionPool.from_url(url, pool=settings)
        self._use_pool_of(self.front)

    def borrow(self) -> Any:
        return self.loop.do(self.front.get_connection)

    def give_back(self, conn: Any) -> None:
        self.loop.do(lambda: self.front.release(conn))

    def use(self, conn: Any) -> int:
        async def ask() -> int:
            await conn.send_command("CLIENT", "ID")
            return int(await conn.read_response())

        return int(self.loop.do(ask))

    def break_off(self, conn: Any) -> None:
        self.loop.do(conn.disconnect)

    def soil(self, conn: Any) -> None:
        async def begin() -> None:
            await conn.send_command("MULTI")
            await conn.read_response()

        self.loop.do(begin)


class AsyncPostgres(InALoop, Postgres):
    front: AsyncPool

    def _open(self, url: str, settings: dict[str, Any]) -> None:
        super()._open(url, settings)
        pool = self.pool
        self.front = AsyncPool(lambda: pool)

    def borrow(self) -> Any:
        return self.loop.do(self.front.checkout)

    def give_back(self, conn: Any) -> None:
        self.loop.do(lambda: self.front.putconn(conn))

    def use(self, conn: Any) -> int:
        async def ask() -> int:
            cursor = await conn.execute("SELECT pg_backend_pid()")
            return int((await cursor.fetchone())[0])

        return int(self.loop.do(ask))

    def break_off(self, conn: Any) -> None:
        self.loop.do(conn.close)


class Asyncpg(InALoop, Postgres):
    kind = ASYNCPG
    errors = {
        "PoolExhausted": TimeoutError,
        "TooManyWaiting": TimeoutError,
        "PoolPaused": TimeoutError,
        "PoolClosed": asyncpg.InterfaceError,
        "ServerDown": ConnectionError,
        "ServerFull": asyncpg.TooManyConnectionsError,
        "AuthenticationFailed": asyncpg.InvalidAuthorizationSpecificationError,
    }
    # The last where the server's good-bye was read and its end has not come yet.
    breaks = (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, asyncpg.InternalClientError)
    front: AsyncpgPool

    def _open(self, url: str, settings: dict[str, Any]) -> None:
        self.front = AsyncpgPool(Maker(of_url(url, {})), pool=settings, address=address_of(url))
        self._use_pool_of(self.front)

    def borrow(self) -> Any:
        async def acquire() -> Any:
            return await self.front.acquire()

        return self.loop.do(acquire)

    def give_back(self, conn: Any) -> None:
        self.loop.do(lambda: self.front.release(conn))

    def use(self, conn: Any) -> int:
        return int(self.loop.do(lambda: conn.fetchval("SELECT pg_backend_pid()")))

    def break_off(self, conn: Any) -> None:
        async def end() -> None:
            conn.terminate()

        self.loop.do(end)

    def soil(self, conn: Any) -> None:
        async def begin() -> None:
            _tasks.add(task := asyncio.ensure_future(_ended(conn.execute("SELECT pg_sleep(60)"))))
            task.add_done_callback(_tasks.discard)
            await asyncio.sleep(0)

        self.loop.do(begin)


async def _ended(running: Any) -> None:
    with suppress(*Asyncpg.breaks):
        await running


class AsyncAlchemy(InALoop, Alchemy):
    driver = "asyncpg"
    breaks = (sqlalchemy.exc.SQLAlchemyError, asyncpg.PostgresError, asyncpg.InterfaceError, OSError, asyncpg_s.Error)

    def _open(self, url: str, settings: dict[str, Any]) -> None:
        self.engine = create_async_engine("", self._dialect_s(url), pool=settings)
        assert isinstance(self.engine.pool, AsyncManagedQueuePool)
        self._use_pool_of(self.engine.pool)

    def borrow(self) -> Any:
        return self.loop.do(self.engine.raw_connection)

    def give_back(self, conn: Any) -> None:
        self.loop.do(lambda: greenlet_spawn(conn.close))

    def use(self, conn: Any) -> int:
        return int(self.loop.do(lambda: greenlet_spawn(super(AsyncAlchemy, self).use, conn)))

    def break_off(self, conn: Any) -> None:
        async def end() -> None:
            conn.driver_connection.terminate()

        self.loop.do(end)

    def soil(self, conn: Any) -> None:
        self.loop.do(lambda: conn.driver_connection.execute("BEGIN"))
