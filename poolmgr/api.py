"""What a site calls in its own code."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

from django.db import DEFAULT_DB_ALIAS

from poolmgr.targets.known import handed
from poolmgr.targets.postgresql.handing import wrapper


def pool(target: str = DEFAULT_DB_ALIAS) -> Any:
    """This process's pool for a target: a database alias, a cache such as ``cache:default``, a name in ``TARGETS``.

    Each kind has its own: a ``ManagedPool`` for PostgreSQL, a ``ManagedConnectionPool`` for redis-py's clients for Redis.
    Raises ``ConfigurationError`` when there is no such target, it has no pool, or its library is not installed.
    """
    return handed(target)


def pinned(using: str = DEFAULT_DB_ALIAS) -> AbstractContextManager[None]:
    """Keep one connection for the block, whatever the pool's mode, and clean it when it goes back."""
    held: AbstractContextManager[None] = wrapper(using).pinned()
    return held


def released(using: str = DEFAULT_DB_ALIAS) -> AbstractContextManager[None]:
    """Hold no connection for the block, as around a call to a model.

    Raises ``ReleaseError`` inside ``atomic()`` and when an open cursor or session state needs the connection.
    """
    let_go: AbstractContextManager[None] = wrapper(using).released()
    return let_go


def unpooled(using: str = DEFAULT_DB_ALIAS) -> AbstractContextManager[None]:
    """Use a connection of one's own for the block, outside the pool and its limits; raises as ``released()``."""
    apart: AbstractContextManager[None] = wrapper(using).unpooled()
    return apart
