"""What a site calls in its own code that runs in an event loop."""

from __future__ import annotations

from typing import Any

from poolmgr.targets.known import handed_by_asyncio


def pool(target: str) -> Any:
    """This process's pool for a target, for all its event loops.

    Each kind has its own: an ``AsyncPool`` of psycopg's connections for PostgreSQL, an ``AsyncManagedConnectionPool`` for
    redis.asyncio's clients for Redis, of a cluster what has the running loop's ``client``, an ``AsyncEngine`` for SQLAlchemy,
    an ``AsyncpgPool`` for asyncpg.
    Raises ``ConfigurationError`` when there is no such target, it has no such pool, or its library is not installed.
    """
    return handed_by_asyncio(target)
