"""Many tasks of one loop at once, cancelled at random, while connections die and an operator is at work."""

import asyncio
import os
import random
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import psycopg
import pytest
import redis
from redis.asyncio import Redis as Client

from poolmgr.exceptions import CheckoutError
from poolmgr.pools.desired import Desired
from poolmgr.targets.asyncpg.arguments import of_url
from poolmgr.targets.asyncpg.making import Maker
from poolmgr.targets.asyncpg.pool import AsyncpgPool
from poolmgr.targets.postgresql.asyncio.pool import AsyncPool
from poolmgr.targets.redis.asyncio import AsyncManagedConnectionPool
from tests.kinds.async_subjects import Asyncpg
from tests.kinds.subjects import Postgres, Redis, Subject
from tests.sampling import first_always
from tests.waiting import when

MOST, TASKS = 5, 30


class Storm:
    """`wrong` has what no borrower may see, `uses` what a task does; `broken` is what it may be told when its connection
    was killed or the pool paused. `managed` is the port of the subject's pool.
    """

    managed: Any
    uses: list[Callable[[], Coroutine[Any, Any, None]]]
    broken: tuple[type[Exception], ...]
    threads = 0

    def __init__(self, subject: Any) -> None:
        self.subject: Subject = subject
        self.ends = time.monotonic() + float(os.environ.get("STRESS_SECONDS", "2"))
        self.wrong: list[Any] = []
        self.users: set[int] = set()
        self.done = self.cancelled = 0

    @contextmanager
    def alone(self, key: int) -> Iterator[None]:
        """See that nobody else has what goes by `key` for the block."""
        if key in self.users:
            self.wrong.append("two owners")
        self.users.add(key)
        try:
            yield
        finally:
            self.users.discard(key)

    def compare(self, got: Any, *expected: Any) -> None:
        if got not in expected:
            self.wrong.append((got, *expected))

    async def work(self) -> None:
        while time.monotonic() < self.ends:
            task = asyncio.create_task(random.choice(self.uses)())
            if random.random() < 0.4:
                for _ in range(random.randrange(6)):
                    await asyncio.sleep(0)
                await asyncio.sleep(random.choice([0, random.random() * 0.005]))
                task.cancel()
            try:
                await task
                self.done += 1
            except asyncio.CancelledError:
                self.cancelled += 1
            except (*self.broken, CheckoutError):
                pass

    def borrow(self) -> None:
        """What a thread does beside the tasks, until the storm ends."""

    def operate(self) -> int:
        """In a thread of its own; the most connections seen at the server."""
        most = 0
        while time.monotonic() < self.ends:
            time.sleep(random.random() * 0.1)
            act = random.choice(["resize", "pause", "recycle", "kill"])
            if act == "resize":
                settings = {**self.managed.spec.to_dict(), "max_size": random.randrange(1, MOST + 1)}
                self.managed.apply(Desired(self.subject.kind.make_spec(settings)))
            elif act == "pause":
                self.managed.pause()
                time.sleep(0.05)
                self.managed.resume()
            elif act == "recycle":
                self.managed.recycle(3)
            else:
                self.subject.kill_one()
            most = max(most, len(self.subject.ends()))
        return most

    def is_over(self) -> bool:
        """Whether all has come back, and the server has what the pool has."""
        seen = self.managed.snapshot()
        return self.managed.load() == (seen.idle, 0, 0) and set(seen.backend_pids) == self.subject.ends()

    async def rage(self) -> None:
        operator = asyncio.create_task(asyncio.to_thread(self.operate))
        beside = [asyncio.create_task(asyncio.to_thread(self.borrow)) for _ in range(self.threads)]
        await asyncio.gather(*(self.work() for _ in range(TASKS)))
        await asyncio.gather(*beside)
        most = await operator
        # What was killed while it was idle is noticed within a second.
        await when(self.is_over, "all to come back, and the server to have what the pool has")
        assert self.wrong == []
        assert self.done > 0
        assert self.cancelled > 0
        assert most <= MOST
        assert self.managed.snapshot().reclaimed == 0


class RedisStorm(Storm):
    broken = (redis.RedisError,)

    def __init__(self, subject: Redis, settings: dict[str, Any]) -> None:
        super().__init__(subject)
        self.pool = AsyncManagedConnectionPool.from_url(subject.url, pool={"min_size": 0, **settings})
        self.client = Client(connection_pool=self.pool)
        self.managed = self.pool.managed
        self.uses = [self.bare, self.command, self.command, self.transaction, self.subscription]

    async def bare(self) -> None:
        conn = await self.pool.get_connection()
        try:
            with self.alone(id(conn)):
                await conn.send_command("ECHO", said := str(random.random()))
                await asyncio.sleep(random.random() * 0.002)
                self.compare(await conn.read_response(), said.encode())
                if random.random() < 0.05:
                    await conn.send_command("MULTI")
                    await conn.read_response()
        finally:
            await self.pool.release(conn)
            if random.random() < 0.05:
                await self.pool.release(conn)

    async def command(self) -> None:
        self.compare(await self.client.echo(said := str(random.random())), said.encode())

    async def transaction(self) -> None:
        async with self.client.pipeline() as pipe:
            await pipe.watch("key")
            pipe.multi()
            self.compare((await pipe.echo(said := str(random.random())).execute())[0], said.encode())

    async def subscription(self) -> None:
        async with self.client.pubsub() as listening:
            await listening.subscribe("news")
            await listening.get_message(timeout=0.01)


async def leave_something(conn: Any) -> None:
    """What a borrower of a PostgreSQL connection may leave: state, a transaction, nothing at all, or a statement that runs."""
    if random.random() < 0.1:
        await conn.execute("SET theirs.name = 'left'")
    if random.random() < 0.05:
        await conn.execute("BEGIN")
    if random.random() < 0.02:
        await conn.close()
    if random.random() < 0.05:
        straying = asyncio.create_task(conn.execute("SELECT pg_sleep(1)"))
        straying.add_done_callback(lambda task: task.cancelled() or task.exception())
        await asyncio.sleep(0)


class PostgresStorm(Storm):
    """With threads at the same pool."""

    broken = (psycopg.Error,)
    threads = 2

    def __init__(self, subject: Postgres, settings: dict[str, Any]) -> None:
        super().__init__(subject)
        self.managed = subject.open(**settings).pool
        self.pool = AsyncPool(lambda: self.managed)
        self.uses = [self.transaction]

    async def transaction(self) -> None:
        async with self.pool.connection() as conn:
            with self.alone(conn.info.backend_pid):
                async with conn.transaction():
                    said = str(random.random())
                    asked = await conn.execute(f"SELECT '{said}' || current_setting('theirs.name', true)")
                    self.compare((await asked.fetchone())[0], said, None)
                await leave_something(conn)

    def borrow(self) -> None:
        while time.monotonic() < self.ends:
            with (
                suppress(psycopg.Error, CheckoutError),
                self.managed.connection() as conn,
                self.alone(conn.info.backend_pid),
            ):
                conn.execute("SELECT pg_sleep(0.002)")


class AsyncpgStorm(Storm):
    broken = Asyncpg.breaks

    def __init__(self, subject: Asyncpg, settings: dict[str, Any]) -> None:
        super().__init__(subject)
        asyncio.get_running_loop().set_exception_handler(
            lambda loop, context: None
        )  # of transactions that are left open
        self.pool = AsyncpgPool(Maker(of_url(subject.url, {})), pool={"min_size": 0, **settings})
        self.managed = self.pool.managed
        self.uses = [self.transaction, self.statement]

    async def statement(self) -> None:
        self.compare(await self.pool.fetchval("SELECT $1::text", said := str(random.random())), said)

    async def transaction(self) -> None:
        async with self.pool.acquire() as conn:
            with self.alone(conn.get_server_pid()):
                async with conn.transaction():
                    said = str(random.random())
                    asked = await conn.fetchval("SELECT $1 || current_setting('theirs.name', true)", said)
                    self.compare(asked, said, None)
                await leave_something(conn)


STORMS: dict[str, type[Any]] = {"redis": RedisStorm, "postgresql": PostgresStorm, "asyncpg": AsyncpgStorm}


@pytest.mark.parametrize("validation", first_always("socket", "query"))
@pytest.mark.parametrize("subject", STORMS, indirect=True)
def test_tasks_that_are_cancelled_at_random_lose_nothing_and_mix_nothing_up(  # P2 P3 P4 P6
    subject: Subject, validation: str
) -> None:
    async def main() -> None:
        settings = {"max_size": MOST, "connection_timeout": 2, "validation": validation}
        await STORMS[subject.kind.name](subject, settings).rage()

    asyncio.run(main())
