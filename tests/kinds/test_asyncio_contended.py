"""Many tasks of one loop at once, cancelled at random, while connections die and an operator is at work."""

import asyncio
import os
import random
import time
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
import redis
from redis.asyncio import Redis as Client

from poolmgr.exceptions import CheckoutError
from poolmgr.pools.desired import Desired
from poolmgr.targets.redis.asyncio import AsyncManagedConnectionPool
from poolmgr.targets.redis.kind import REDIS
from tests.kinds.subjects import Redis

MOST, TASKS = 5, 30


class Storm:
    """`wrong` has what no borrower may see."""

    def __init__(self, url: str, validation: str, seconds: float) -> None:
        self.pool = AsyncManagedConnectionPool.from_url(
            url, pool={"min_size": 0, "max_size": MOST, "connection_timeout": 2, "validation": validation}
        )
        self.client = Client(connection_pool=self.pool)
        self.core = self.pool.managed
        self.ends = time.monotonic() + seconds
        self.wrong: list[Any] = []
        self.users: set[int] = set()
        self.done = self.cancelled = 0

    async def borrow(self) -> None:
        conn = await self.pool.get_connection()
        if id(conn) in self.users:
            self.wrong.append("two owners")
        self.users.add(id(conn))
        try:
            await conn.send_command("ECHO", said := str(random.random()))
            await asyncio.sleep(random.random() * 0.002)
            self.compare(await conn.read_response(), said)
            if random.random() < 0.05:
                await conn.send_command("MULTI")
                await conn.read_response()
        finally:
            self.users.discard(id(conn))
            await self.pool.release(conn)
            if random.random() < 0.05:
                await self.pool.release(conn)

    async def command(self) -> None:
        self.compare(await self.client.echo(said := str(random.random())), said)

    async def transaction(self) -> None:
        async with self.client.pipeline() as pipe:
            await pipe.watch("key")
            pipe.multi()
            self.compare((await pipe.echo(said := str(random.random())).execute())[0], said)

    async def subscription(self) -> None:
        async with self.client.pubsub() as listening:
            await listening.subscribe("news")
            await listening.get_message(timeout=0.01)

    def compare(self, got: Any, said: str) -> None:
        if got != said.encode():
            self.wrong.append((got, said))

    async def work(self) -> None:
        uses: list[Callable[[], Coroutine[Any, Any, None]]]
        uses = [self.borrow, self.command, self.command, self.transaction, self.subscription]
        while time.monotonic() < self.ends:
            task = asyncio.create_task(random.choice(uses)())
            if random.random() < 0.4:
                for _ in range(random.randrange(6)):
                    await asyncio.sleep(0)
                await asyncio.sleep(random.choice([0, random.random() * 0.003]))
                task.cancel()
            try:
                await task
                self.done += 1
            except asyncio.CancelledError:
                self.cancelled += 1
            except (redis.RedisError, CheckoutError):
                pass  # its connection was killed, or the pool was paused

    def operate(self, subject: Redis) -> int:
        """In a thread of its own; the most connections seen at the server."""
        most = 0
        while time.monotonic() < self.ends:
            time.sleep(random.random() * 0.1)
            act = random.choice(["resize", "pause", "recycle", "kill"])
            if act == "resize":
                settings = {**self.core.spec.to_dict(), "max_size": random.randrange(1, MOST + 1)}
                self.core.apply(Desired(REDIS.make_spec(settings)))
            elif act == "pause":
                self.core.pause()
                time.sleep(0.05)
                self.core.resume()
            elif act == "recycle":
                self.core.recycle(3)
            else:
                subject.kill_one()
            most = max(most, len(subject.ends()))
        return most


@pytest.mark.parametrize("validation", ["socket", "query"])
def test_tasks_that_are_cancelled_at_random_lose_nothing_and_mix_nothing_up(  # P2 P3 P4 P6
    redis_subject: Redis, validation: str
) -> None:
    async def main() -> None:
        storm = Storm(redis_subject.url, validation, float(os.environ.get("STRESS_SECONDS", "2")))
        operator = asyncio.create_task(asyncio.to_thread(storm.operate, redis_subject))
        await asyncio.gather(*(storm.work() for _ in range(TASKS)))
        most = await operator
        core = storm.core
        async with asyncio.timeout(10):
            # What was killed while it was idle is noticed within a second.
            while core.load() != (len(core.idle), 0, 0) or set(core.snapshot().backend_pids) != redis_subject.ends():
                await asyncio.sleep(0.01)
        assert storm.wrong == []
        assert storm.done > 0
        assert storm.cancelled > 0
        assert most <= MOST
        seen = core.snapshot()
        assert (seen.reclaimed, seen.left_behind) == (0, 0)

    asyncio.run(main())
