"""What a site calls in its own code."""

from __future__ import annotations

from typing import Any

from django.db import DEFAULT_DB_ALIAS

from poolmgr.targets.known import handed
from poolmgr.targets.postgresql.blocks import Block


def pool(target: str = DEFAULT_DB_ALIAS) -> Any:
    """This process's pool for a target: a database alias, a cache such as ``cache:default``, a name in ``TARGETS``.

    Each kind has its own: a ``ManagedPool`` for PostgreSQL, a ``ManagedConnectionPool`` for redis-py's clients for Redis.
    Raises ``ConfigurationError`` when there is no such target, it has no pool, or its library is not installed.
    """
    return handed(target)


def pinned(using: str = DEFAULT_DB_ALIAS) -> Block:
    """Keep one connection for the block, whatever the pool's mode, and clean it when it goes back.

    ``with`` in threads, ``async with`` in tasks, as for all three.
    """
    return Block("pinned", using)


def released(using: str = DEFAULT_DB_ALIAS) -> Block:
    """Hold no connection for the block, as around a call to a model.

    Raises ``ReleaseError`` inside ``atomic()`` and when an open cursor or session state needs the connection.
    """
    return Block("released", using)


def unpooled(using: str = DEFAULT_DB_ALIAS) -> Block:
    """Use a connection of one's own for the block, outside the pool and its limits; raises as ``released()``."""
    return Block("unpooled", using)
