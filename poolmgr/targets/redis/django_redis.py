"""For ``OPTIONS["CONNECTION_FACTORY"]`` of django-redis, or ``DJANGO_REDIS_CONNECTION_FACTORY``."""

from __future__ import annotations

from typing import Any

from django_redis.pool import ConnectionFactory as Original
from django_redis.pool import SentinelConnectionFactory as OriginalOfSentinel

from poolmgr.secrets import Secret, hide
from poolmgr.targets.redis.caches import CachePool, kept
from poolmgr.targets.redis.finding import POOL
from poolmgr.targets.redis.sentinel import ManagedSentinelPool


class ConnectionFactory(Original):  # type: ignore[misc]
    """django-redis's, with the managed pool of each cache."""

    def connect(self, url: str) -> Any:
        url = Secret(url)  # as this frame, and those that it calls, show it
        return super().connect(url)

    def get_or_create_connection_pool(self, params: dict[str, Any]) -> Any:
        """Raises ``ConfigurationError`` for a cache whose OPTIONS have no POOL, or a URL that is of no use."""
        hide(params)
        return CachePool.from_url(**{**params, **self.pool_cls_kwargs, POOL: self.options.get(POOL)})


class SentinelConnectionFactory(OriginalOfSentinel):  # type: ignore[misc]
    """django-redis's for a master, or replicas, that Sentinel watches, with the managed pool of each cache."""

    def __init__(self, options: dict[str, Any]) -> None:
        super().__init__({**options})
        self.pool_cls = ManagedSentinelPool

    def connect(self, url: str) -> Any:
        url = Secret(url)
        return super().connect(url)

    def get_or_create_connection_pool(self, params: dict[str, Any]) -> Any:
        """Raises ``ConfigurationError`` for a cache whose OPTIONS have no POOL, or a URL that is of no use."""
        hide(params)
        values = self.options.get(POOL)
        make = super().get_connection_pool
        return kept(params["url"], values, lambda target: make({**params, "target": target, "pool": values}))
