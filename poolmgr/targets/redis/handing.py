"""The pool of a target for the site's own code: one in each process, that of a cache being the one its backend uses."""

from __future__ import annotations

from functools import partial
from typing import Any

from poolmgr.conf import Declared
from poolmgr.exceptions import ConfigurationError
from poolmgr.pools import declaring
from poolmgr.pools.handed import OneOfEach
from poolmgr.targets.redis import caches
from poolmgr.targets.redis.asyncio import AsyncManagedConnectionPool
from poolmgr.targets.redis.kind import REDIS
from poolmgr.targets.redis.making import made_by
from poolmgr.targets.redis.pool import ManagedConnectionPool

_pools: OneOfEach[ManagedConnectionPool] = OneOfEach("POOLMGR")
_async_pools: OneOfEach[AsyncManagedConnectionPool] = OneOfEach("POOLMGR")


def pool(target: str) -> ManagedConnectionPool:
    """To be given to redis-py's clients. Raises ``KeyError`` for one that the settings don't name, ``ConfigurationError``."""
    each = declaring.declared(REDIS).get(target)
    return caches.pool_of(target) if each is None else _pools.get(target, partial(_make, ManagedConnectionPool, each))


def async_pool(target: str) -> AsyncManagedConnectionPool:
    """The same for the clients of redis.asyncio, of targets that are declared. Raises ``ConfigurationError``."""
    each = declaring.declared(REDIS).get(target)
    if each is None:
        raise ConfigurationError(
            f"{target!r} has no pool for asyncio, since Django's caches are none: declare one in POOLMGR['TARGETS']"
        )
    return _async_pools.get(target, partial(_make, AsyncManagedConnectionPool, each))


def _make(cls: type[Any], each: Declared) -> Any:
    """Raises ``ConfigurationError`` where redis-py does not understand the URL, ``InvalidSpec``."""
    make = partial(cls.from_url, each.url, target=each.target, pool=each.pool)
    return made_by(make, f"{each.where}['URL']")
