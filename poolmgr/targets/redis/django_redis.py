"""For ``OPTIONS["CONNECTION_FACTORY"]`` of django-redis, or ``DJANGO_REDIS_CONNECTION_FACTORY``."""

from __future__ import annotations

from typing import Any

from django_redis.pool import ConnectionFactory as Original

from poolmgr.targets.redis.caches import CachePool
from poolmgr.targets.redis.finding import POOL


class ConnectionFactory(Original):  # type: ignore[misc]
    """django-redis's, with the managed pool of each cache."""

    def get_or_create_connection_pool(self, params: dict[str, Any]) -> Any:
        """Raises ``ConfigurationError`` for a cache whose OPTIONS have no POOL."""
        return CachePool.from_url(**{**params, **self.pool_cls_kwargs, POOL: self.options.get(POOL)})
