"""The pool of a target for the site's own code: one in each process, that of a cache being the one its backend uses."""

from __future__ import annotations

from functools import partial
from typing import Any

from poolmgr.conf import Declared
from poolmgr.exceptions import ConfigurationError
from poolmgr.pools import declaring
from poolmgr.pools.handed import OneOfEach
from poolmgr.secrets import HIDDEN, shown
from poolmgr.targets.redis import caches
from poolmgr.targets.redis.asyncio import AsyncManagedConnectionPool
from poolmgr.targets.redis.asyncio.cluster import AsyncCluster
from poolmgr.targets.redis.cluster import Cluster
from poolmgr.targets.redis.kind import REDIS
from poolmgr.targets.redis.making import made_by, tried
from poolmgr.targets.redis.pool import ManagedConnectionPool

#: What a declaration says in other words.
_OURS = frozenset({"url", "target", "pool"})

_pools: OneOfEach[ManagedConnectionPool] = OneOfEach("POOLMGR")
_clusters: OneOfEach[Cluster] = OneOfEach("POOLMGR")
_async_clusters: OneOfEach[AsyncCluster] = OneOfEach("POOLMGR")
_async_pools: OneOfEach[AsyncManagedConnectionPool] = OneOfEach("POOLMGR")


def pool(target: str) -> Any:
    """To be given to redis-py's clients; of a cluster what has its client.

    Raises ``KeyError`` for one that the settings don't name, ``ConfigurationError``.
    """
    each = declaring.declared(REDIS).get(target)
    if each is not None and each.rest.get("CLUSTER"):
        return _clusters.get(target, partial(_make_cluster, Cluster, each))
    return caches.pool_of(target) if each is None else _pools.get(target, partial(_make, ManagedConnectionPool, each))


def async_pool(target: str) -> Any:
    """The same for the clients of redis.asyncio, of targets that are declared. Raises ``ConfigurationError``."""
    each = declaring.declared(REDIS).get(target)
    if each is None:
        raise ConfigurationError(
            f"{target!r} has no pool for asyncio, since Django's caches are none: declare one in POOLMGR['TARGETS']"
        )
    if each.rest.get("CLUSTER"):
        return _async_clusters.get(target, partial(_make_cluster, AsyncCluster, each))
    return _async_pools.get(target, partial(_make, AsyncManagedConnectionPool, each))


def _make_cluster(cls: type[Any], each: Declared) -> Any:
    _make(ManagedConnectionPool, each)  # which tells what is wrong with the URL and the options
    return cls(each.url, each.target, each.pool, **(each.rest.get("OPTIONS") or {}))


def _make(cls: type[Any], each: Declared) -> Any:
    """Raises ``ConfigurationError`` where redis-py does not understand the URL or an option, ``InvalidSpec``."""
    options = each.rest.get("OPTIONS") or {}
    make = partial(cls.from_url, each.url)
    made_by(make, f"{each.where}['URL']")
    for name, value in options.items():
        if name in _OURS or tried(partial(make, **{name: value})) is None:
            raise ConfigurationError(
                f"{each.where}['OPTIONS'] has {shown(name)} with {HIDDEN}, but may only have keyword arguments of redis-py's"
                " connections, with values that they take"
            )
    return made_by(partial(make, target=each.target, pool=each.pool, **options), f"{each.where}['OPTIONS']")
