"""What a site calls in its own code."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

from django.db import DEFAULT_DB_ALIAS, connections

from poolmgr.exceptions import ConfigurationError
from poolmgr.targets.postgresql.managed import ManagedPool


def _wrapper(using: str) -> Any:
    wrapper = connections[using]
    if not hasattr(wrapper, "managed_pool"):
        engine = connections.settings[using]["ENGINE"]
        raise ConfigurationError(
            f"DATABASES[{using!r}]['ENGINE'] is {engine!r}, which has no managed pool; use 'poolmgr.backends.postgresql'"
        )
    return wrapper


def pool(using: str = DEFAULT_DB_ALIAS) -> ManagedPool:
    """This process's pool for a database alias.

    Raises ``ConfigurationError`` when the alias has none.
    """
    found: ManagedPool | None = _wrapper(using).managed_pool
    if found is None:
        raise ConfigurationError(f"DATABASES[{using!r}]['OPTIONS']['pool'] is False: this database has no pool")
    return found


def pinned(using: str = DEFAULT_DB_ALIAS) -> AbstractContextManager[None]:
    """Keep one connection for the block, whatever the pool's mode, and clean it when it goes back."""
    held: AbstractContextManager[None] = _wrapper(using).pinned()
    return held


def released(using: str = DEFAULT_DB_ALIAS) -> AbstractContextManager[None]:
    """Hold no connection for the block, as around a call to a model.

    Raises ``ReleaseError`` inside ``atomic()`` and when an open cursor or session state needs the connection.
    """
    let_go: AbstractContextManager[None] = _wrapper(using).released()
    return let_go


def unpooled(using: str = DEFAULT_DB_ALIAS) -> AbstractContextManager[None]:
    """Use a connection of one's own for the block, outside the pool and its limits; raises as ``released()``."""
    apart: AbstractContextManager[None] = _wrapper(using).unpooled()
    return apart
