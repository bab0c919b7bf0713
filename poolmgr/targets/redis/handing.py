"""The pool of a target for the site's own code: one in each process, that of a cache being the one its backend uses."""

from __future__ import annotations

from contextlib import suppress
from functools import partial

from poolmgr.conf import Declared
from poolmgr.exceptions import ConfigurationError
from poolmgr.pools import declaring
from poolmgr.pools.handed import OneOfEach
from poolmgr.secrets import HIDDEN
from poolmgr.targets.redis import caches
from poolmgr.targets.redis.kind import REDIS
from poolmgr.targets.redis.library import redis
from poolmgr.targets.redis.pool import ManagedConnectionPool

_pools: OneOfEach[ManagedConnectionPool] = OneOfEach("POOLMGR")


def pool(target: str) -> ManagedConnectionPool:
    """To be given to redis-py's clients. Raises ``KeyError`` for one that the settings don't name, ``ConfigurationError``."""
    each = declaring.declared(REDIS).get(target)
    return caches.pool_of(target) if each is None else _pools.get(target, partial(_make, each))


def _make(each: Declared) -> ManagedConnectionPool:
    """Raises ``ConfigurationError`` where redis-py does not understand the URL, ``InvalidSpec``."""
    with suppress(ValueError, TypeError, redis.RedisError):
        made: ManagedConnectionPool = ManagedConnectionPool.from_url(each.url, target=each.target, pool=each.pool)
        # Made and not connected: what redis-py does not know, it would otherwise refuse at every use.
        made.make_connection()
        return made
    raise ConfigurationError(
        f"{each.where}['URL'] is {HIDDEN}, but must be a URL that redis-py understands, with no other options after the ?"
        " than redis-py's own"
    )
