"""redis-py's two halves, as tests that both pass see them: each thread of a test calls a client, or has a task that does."""

from collections.abc import Callable
from typing import Any

import redis.asyncio
from redis.asyncio.sentinel import Sentinel as AsyncSentinel
from redis.asyncio.sentinel import SentinelManagedSSLConnection as AsyncSSLConnection
from redis.sentinel import Sentinel, SentinelManagedSSLConnection

from poolmgr.pools.core.pool import CorePool
from poolmgr.targets.redis.asyncio import AsyncManagedSentinelPool
from poolmgr.targets.redis.sentinel import ManagedSentinelPool
from tests.kinds.async_subjects import Loop


class Threads:
    """Clients that are called as they are."""

    sentinel: Any = Sentinel
    of_sentinel: Any = ManagedSentinelPool
    found_over_tls: Any = SentinelManagedSSLConnection

    def here(self, client: Any) -> Any:
        """The client, or pool, to be called by threads."""
        return client

    def core(self, pool: Any) -> CorePool:
        return pool.managed  # type: ignore[no-any-return]

    def asking(self, pool: Any) -> Any:
        """What asks Sentinel once a second."""
        return pool._asking

    def close(self) -> None:
        """Nothing of it runs by itself."""


class Tasks(Threads):
    """Clients whose calls are made in a loop that runs in a thread of its own."""

    sentinel = AsyncSentinel
    of_sentinel = AsyncManagedSentinelPool
    found_over_tls = AsyncSSLConnection

    def __init__(self) -> None:
        self.loop = Loop()

    def here(self, client: Any) -> Any:
        return _InALoop(client, self.loop)

    def core(self, pool: Any) -> CorePool:
        async def managed() -> Any:
            return pool.managed  # which asks which loop runs

        return self.loop.do(managed)  # type: ignore[no-any-return]

    def asking(self, pool: Any) -> Any:
        return pool._asking[self.core(pool)]

    def close(self) -> None:
        self.loop.close()


class _InALoop:
    def __init__(self, of: Any, loop: Loop) -> None:
        self._of, self._loop = of, loop

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._of, name)
        if isinstance(found, redis.asyncio.ConnectionPool):
            return _InALoop(found, self._loop)
        return self._called(found) if callable(found) else found

    def _called(self, method: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            async def in_the_loop() -> Any:
                return await method(*args, **kwargs)

            return self._loop.do(in_the_loop)

        return call
