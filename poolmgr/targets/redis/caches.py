"""One pool for each location of a cache, however many threads and clients ask for it.

Django's backend makes a pool in each thread, django-redis one for each URL, the first to come deciding its options.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from django.utils.module_loading import import_string

from poolmgr.pools.handed import OneOfEach
from poolmgr.secrets import Secret, hide
from poolmgr.targets.redis.finding import POOL, location, location_of
from poolmgr.targets.redis.making import made_by
from poolmgr.targets.redis.pool import ManagedConnectionPool

_pools: OneOfEach[ManagedConnectionPool] = OneOfEach("CACHES")

#: What Django's backend keeps of a cache's OPTIONS for itself.
_BACKEND_S_OWN = frozenset({"pool_class", "serializer"})


class CachePool(ManagedConnectionPool):
    """For ``OPTIONS["pool_class"]`` of Django's RedisCache."""

    @classmethod
    def from_url(cls, url: str, **options: Any) -> Any:
        """The one pool of the cache that has this URL and these options, ``POOL`` among them.

        Raises ``ConfigurationError`` where no cache has, or redis-py does not understand them, ``InvalidSpec`` for wrong
        settings.
        """
        url = Secret(url)  # whatever fails, and whoever shows the locals of this frame
        hide(options)
        values = options.pop(POOL, None)
        make = super().from_url
        return kept(url, values, lambda target: make(url, target=target, pool=values, **options))


def kept(url: str, pool: Any, make: Callable[[str], ManagedConnectionPool]) -> ManagedConnectionPool:
    """The one pool of the cache that has this URL and this OPTIONS["POOL"]; ``make(target)`` makes it.

    Raises ``ConfigurationError`` where no cache has, and as ``made_by()`` does.
    """
    of = location_of(url, pool)
    return _pools.get(of.target, partial(made_by, partial(make, of.target), f"CACHES[{of.alias!r}]['LOCATION']"))


def pool_of(target: str) -> ManagedConnectionPool:
    """The pool of a target that the settings name, made if need be as its cache's backend would. Raises ``KeyError``."""
    of = location(target)
    if "pool_class" in of.options:
        cls = of.options["pool_class"]
        made = import_string(cls) if isinstance(cls, str) else cls
        rest = {name: value for name, value in of.options.items() if name not in _BACKEND_S_OWN}
        if isinstance(rest.get("parser_class"), str):
            rest["parser_class"] = import_string(rest["parser_class"])
        hide(rest)
        found = made.from_url(of.url, **rest)
    else:
        # Which a site with Django's own backend need not have.
        from django_redis.pool import get_connection_factory

        factory: Any = get_connection_factory(options=dict(of.options))
        found = factory.get_or_create_connection_pool(factory.make_connection_params(of.url))
    assert isinstance(found, ManagedConnectionPool)
    return found
