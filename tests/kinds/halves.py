"""redis-py's two halves, as tests that both pass see them: each thread of a test calls a client, or has a task that does."""

import inspect
from collections.abc import Callable
from typing import Any

from redis.asyncio import ConnectionPool
from redis.asyncio.client import PubSub
from redis.asyncio.cluster import ClusterPipeline, NodesManager
from redis.asyncio.sentinel import Sentinel as AsyncSentinel
from redis.asyncio.sentinel import SentinelManagedSSLConnection as AsyncSSLConnection
from redis.sentinel import Sentinel, SentinelManagedSSLConnection

import poolmgr.aio
from poolmgr.pools.core.pool import CorePool
from poolmgr.targets.redis.asyncio import AsyncManagedSentinelPool
from poolmgr.targets.redis.asyncio.cluster import ManagedRedisCluster as AsyncRedisCluster
from poolmgr.targets.redis.cluster import ManagedRedisCluster
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

    def cluster(self, url: str, target: str, pool: dict[str, Any], **options: Any) -> Any:
        return ManagedRedisCluster.from_url(url, target=target, pool=pool, **options)

    def core(self, pool: Any) -> CorePool:
        return pool.managed  # type: ignore[no-any-return]

    def pool_of(self, client: Any, node: Any) -> Any:
        """The pool of a cluster's node."""
        return node.redis_connection.connection_pool

    def declared(self, target: str) -> Any:
        """What is handed out of a target."""
        return poolmgr.pool(target)

    def client_of(self, declared: Any) -> Any:
        return declared.client

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

    def cluster(self, url: str, target: str, pool: dict[str, Any], **options: Any) -> Any:
        made = self.here(AsyncRedisCluster.from_url(url, target=target, pool=pool, **options))
        made.initialize()  # as the other half's does when it is made
        return made

    def pool_of(self, client: Any, node: Any) -> Any:
        return self.here(node.pool)

    def declared(self, target: str) -> Any:
        return poolmgr.aio.pool(target)

    def client_of(self, declared: Any) -> Any:
        async def client() -> Any:
            return declared.client  # which asks which loop runs

        return self.here(self.loop.do(client))

    def core(self, pool: Any) -> CorePool:
        async def managed() -> Any:
            return pool.managed  # which asks which loop runs

        return self.loop.do(managed)  # type: ignore[no-any-return]

    def asking(self, pool: Any) -> Any:
        return pool._asking[self.core(pool)]

    def close(self) -> None:
        self.loop.close()


#: What a client has, and gives, that is called in the loop too.
_OF_THE_LOOP = (ConnectionPool, NodesManager, ClusterPipeline, PubSub)


class _InALoop:
    def __init__(self, of: Any, loop: Loop) -> None:
        self._of, self._loop = of, loop

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _InALoop) and self._of is other._of

    def __hash__(self) -> int:
        return id(self._of)

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._of, "aclose" if name == "close" else name)
        return self._called(found) if callable(found) else self._here(found)

    def _here(self, found: Any) -> Any:
        return _InALoop(found, self._loop) if isinstance(found, _OF_THE_LOOP) else found

    def _called(self, method: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            async def in_the_loop() -> Any:
                result = method(*args, **kwargs)
                return await result if inspect.iscoroutine(result) else result

            return self._here(self._loop.do(in_the_loop))

        return call
