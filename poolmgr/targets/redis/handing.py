"""The pool of a target for the site's own code: one in each process, that of a cache being the one its backend uses."""

from __future__ import annotations

from threading import Lock
from typing import Any

from django.core.signals import setting_changed

from poolmgr.conf import Declared
from poolmgr.exceptions import ConfigurationError
from poolmgr.pools import declaring, registry
from poolmgr.pools.forks import on_fork
from poolmgr.secrets import HIDDEN
from poolmgr.targets.redis import caches
from poolmgr.targets.redis.kind import REDIS
from poolmgr.targets.redis.library import redis
from poolmgr.targets.redis.pool import ManagedConnectionPool

_pools: dict[str, ManagedConnectionPool] = {}
_lock = Lock()


def pool(target: str) -> ManagedConnectionPool:
    """To be given to redis-py's clients. Raises ``KeyError`` for one that the settings don't name, ``ConfigurationError``."""
    each = declaring.declared(REDIS).get(target)
    if each is None:
        return caches.pool_of(target)
    with _lock:
        found = _pools.get(target) or _make(each)
        if found is not None:
            _pools[target] = found
    if found is None:
        raise ConfigurationError(
            f"{each.where}['URL'] is {HIDDEN}, but must be a URL that redis-py understands, with no other options after the ?"
            " than redis-py's own"
        )
    return found


def _make(each: Declared) -> ManagedConnectionPool | None:
    """None where redis-py does not understand the URL. Raises ``InvalidSpec``."""
    try:
        made: ManagedConnectionPool = ManagedConnectionPool.from_url(each.url, target=each.target, pool=each.pool)
        # Made and not connected: what redis-py does not know, it would otherwise refuse at every use.
        made.make_connection()
    except (ValueError, TypeError, redis.RedisError):
        return None
    return made


def _forget(*, setting: str, **kwargs: Any) -> None:
    """Have targets that are declared anew, as tests do, get pools of their own."""
    if setting == "POOLMGR":
        with _lock:
            gone = list(_pools)
            _pools.clear()
        for target in gone:
            registry.close(target)


def _after_fork() -> None:
    global _lock
    _lock = Lock()


setting_changed.connect(_forget, dispatch_uid="poolmgr.targets.redis.handing")
on_fork(_after_fork)
