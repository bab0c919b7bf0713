"""Redis by asyncio: ``redis.asyncio``'s pool, managed, with one set of connections for each event loop."""

from poolmgr.targets.redis.asyncio.pool import AsyncManagedConnectionPool

__all__ = ["AsyncManagedConnectionPool"]
