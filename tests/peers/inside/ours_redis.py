"""redis-py's pool classes are ours, under the names of theirs, which their tests look for in texts."""

from typing import Any

import peer_settings  # noqa: F401
import redis
import redis.asyncio
import redis.asyncio.client
import redis.asyncio.connection
import redis.client
import redis.cluster
import redis.connection
import redis.utils

from poolmgr.targets.redis.asyncio import AsyncManagedConnectionPool
from poolmgr.targets.redis.pool import ManagedConnectionPool

#: What redis-py's pools can't keep is not asked for: they connect on demand alone.
_ON_DEMAND = {"min_size": 0}


class ConnectionPool(ManagedConnectionPool):
    def __init__(self, connection_class: Any = redis.Connection, max_connections: Any = None, **kwargs: Any) -> None:
        super().__init__(connection_class, max_connections, **{"pool": _ON_DEMAND, **kwargs})


class BlockingConnectionPool(ConnectionPool):
    def __init__(self, max_connections: Any = 50, timeout: Any = 20, **kwargs: Any) -> None:
        super().__init__(max_connections=max_connections, timeout=timeout, **kwargs)


class DummyConnection(redis.Connection):
    """For the connections of nothing, which redis-py's tests give to its pools and ours refuses: one of redis-py's that
    connects, and keeps what it was given."""

    def __init__(self, **kwargs: Any) -> None:
        self.kwargs = kwargs
        super().__init__(**{name: value for name, value in kwargs.items() if name not in {"foo", "biz"}})


class AsyncConnectionPool(AsyncManagedConnectionPool):
    def __init__(
        self, connection_class: Any = redis.asyncio.Connection, max_connections: Any = None, **kwargs: Any
    ) -> None:
        super().__init__(connection_class, max_connections, **{"pool": _ON_DEMAND, **kwargs})


class AsyncBlockingConnectionPool(AsyncConnectionPool):
    def __init__(self, max_connections: Any = 50, timeout: Any = 20, **kwargs: Any) -> None:
        super().__init__(max_connections=max_connections, timeout=timeout, **kwargs)


AsyncConnectionPool.__name__, AsyncBlockingConnectionPool.__name__ = "ConnectionPool", "BlockingConnectionPool"


class AsyncDummyConnection(redis.asyncio.Connection):
    """The same by asyncio; to connect a second time has no effect."""

    def __init__(self, **kwargs: Any) -> None:
        self.kwargs = kwargs
        super().__init__(**{name: value for name, value in kwargs.items() if name not in {"foo", "biz"}})


for module in (redis.asyncio, redis.asyncio.client, redis.asyncio.connection):
    for cls in (AsyncConnectionPool, AsyncBlockingConnectionPool):
        if hasattr(module, cls.__name__):
            setattr(module, cls.__name__, cls)

for module in (redis, redis.client, redis.connection, redis.cluster, redis.utils):
    for cls in (ConnectionPool, BlockingConnectionPool):
        if hasattr(module, cls.__name__):
            setattr(module, cls.__name__, cls)


def pytest_collection_modifyitems(items: list[Any]) -> None:
    for module in {item.module for item in items}:
        if hasattr(module, "DummyConnection"):
            by_asyncio = issubclass(module.DummyConnection, redis.asyncio.connection.AbstractConnection)
            module.DummyConnection = AsyncDummyConnection if by_asyncio else DummyConnection
