"""The pool of a database alias for the site's own code."""

from __future__ import annotations

from functools import partial
from typing import Any

from django.db import connections
from django.db.utils import load_backend

from poolmgr.exceptions import ConfigurationError
from poolmgr.pools.handed import OneOfEach
from poolmgr.targets.postgresql.asyncio.pool import AsyncPool
from poolmgr.targets.postgresql.managed import ManagedPool

_async_pools: OneOfEach[AsyncPool] = OneOfEach("DATABASES")


def wrapper(alias: str) -> Any:
    """Django's connection of this thread. Raises ``ConfigurationError`` for an alias on another backend."""
    found = connections[alias]
    if not hasattr(type(found), "managed_pool"):  # which would make it
        engine = connections.settings[alias]["ENGINE"]
        raise ConfigurationError(
            f"DATABASES[{alias!r}]['ENGINE'] is {engine!r}, which has no managed pool; use 'poolmgr.backends.postgresql'"
        )
    return found


def wrapper_for_tasks(alias: str) -> Any | None:
    """Django's connection of the running task; None where the ENGINE has no half for tasks, whose queries threads do.

    Raises ``ConfigurationError`` as ``wrapper()`` where that is another's.
    """
    if alias not in connections.settings:
        return None  # of which whoever queries says so
    half = getattr(load_backend(connections.settings[alias]["ENGINE"]), "AsyncDatabaseWrapper", None)
    if half is None:
        return None
    return half.of_task(alias) if hasattr(half, "of_task") else wrapper(alias)


def pool(target: str) -> ManagedPool:
    """Raises ``ConfigurationError`` when the alias has none."""
    found: ManagedPool | None = wrapper(target).managed_pool
    if found is None:
        raise ConfigurationError(f"DATABASES[{target!r}]['OPTIONS']['pool'] is False: this database has no pool")
    return found


def async_pool(target: str) -> AsyncPool:
    """The same pool for tasks. Raises ``ConfigurationError`` when the alias has none."""
    pool(target)
    return _async_pools.get(target, partial(AsyncPool, partial(pool, target)))
