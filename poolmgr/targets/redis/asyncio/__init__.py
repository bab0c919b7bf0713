"""Redis by asyncio: ``redis.asyncio``'s pool, managed, with one set of connections for each event loop."""

from poolmgr.targets.redis.asyncio.pool import AsyncManagedConnectionPool
from poolmgr.targets.redis.asyncio.sentinel import AsyncManagedSentinelPool

__all__ = ["AsyncManagedConnectionPool", "AsyncManagedSentinelPool"]
