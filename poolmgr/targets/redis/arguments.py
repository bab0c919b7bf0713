"""What a Redis pool may be made with, in redis-py's words and ours."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from poolmgr.exceptions import ConfigurationError
from poolmgr.pools.spec import PoolSpec
from poolmgr.secrets import shown
from poolmgr.targets.redis.kind import REDIS
from poolmgr.targets.redis.library import redis


def refuse(
    connection_class: Any,
    max_connections: Any,
    target: str,
    timeout: Any,
    connection_kwargs: Mapping[str, Any],
    base: type[Any] = redis.connection.AbstractConnection,
) -> None:
    """Raises ``ConfigurationError`` for what a managed pool can't do; ``base`` is what each connection class derives from."""
    for name in ("cache", "cache_config"):
        if connection_kwargs.get(name):
            raise ConfigurationError(
                f"{name} is set, but a managed pool keeps no client-side cache: a Redis connection that tracks keys"
                " would tell one borrower of another's; leave it out"
            )
    if target and (max_connections is not None or timeout is not None):
        raise ConfigurationError(
            f"max_connections or timeout is set for {target!r}, whose settings are those of its pool: give it max_size"
            " and connection_timeout instead"
        )
    if not (isinstance(connection_class, type) and issubclass(connection_class, base)):
        raise ConfigurationError(
            f"connection_class is {shown(connection_class)}, but must be one of redis-py's connection classes in"
            f" {base.__module__}, or derive from one"
        )


def bootstrap(pool: Mapping[str, Any] | None, most: int | None, timeout: float | None, target: str) -> PoolSpec:
    """The settings before any profile. Raises ``InvalidSpec``."""
    if pool is not None and not isinstance(pool, Mapping):
        raise ConfigurationError(f"pool is {shown(pool)}, but must be a dict of a profile's settings")
    words = {"max_size": most, "connection_timeout": timeout}
    given = {name: value for name, value in words.items() if value is not None}
    if "max_size" in given and "min_size" not in (pool or {}):
        given["min_size"] = min(REDIS.defaults.min_size, given["max_size"])
    return REDIS.make_spec({**given, **(pool or {})}, f"the pool of {target!r}" if target else "the pool")


def address(connection_kwargs: Mapping[str, Any]) -> str:
    """Where a pool connects to, for people."""
    if path := connection_kwargs.get("path"):
        return str(path)
    given = connection_kwargs
    return f"{given.get('host', 'localhost')}:{given.get('port', 6379)}/{given.get('db') or 0}"
