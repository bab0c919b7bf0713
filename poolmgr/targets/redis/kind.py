"""What Redis honours."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from poolmgr.conf import is_redis_url
from poolmgr.metrics.phrases import phrase
from poolmgr.pools.kinds import Kind
from poolmgr.pools.spec import PoolSpec
from poolmgr.secrets import shown


def ping_error(query: Any) -> str:
    """Why ``query`` can't be a validation query, or an empty string."""
    if query == "PING":
        return ""
    return phrase("%(value)s is not PING, the one command that asks a Redis nothing else", value=shown(query))


REDIS = Kind(
    name="redis",
    label="Redis",
    package="poolmgr.targets.redis",
    unit=phrase("clients"),
    end=phrase("client"),
    prefix="cache:",
    libraries={"redis": "redis"},
    denies={
        "cancel": phrase(
            "A Redis stops no command from another connection: it is over before anybody could ask, or blocks until its"
            " own timeout."
        ),
        "end": phrase(
            "redis-py connects again by itself and sends the command once more, so that nothing would be ended."
        ),
    },
    refuses={"pool_mode": phrase("A Redis connection goes back after each command, pipeline or subscription.")},
    helps={
        "max_size": phrase(
            "The most connections of each process, those of subscriptions and blocking commands included. Default 10."
            " Raise it when requests wait and the server has room; waiting requests are served at once. Lowering closes"
            " idle connections now and used ones as they return. Live."
        ),
        "connection_timeout": phrase(
            "Seconds that a request waits for a connection before it fails with “pool exhausted”. Default 5. Once a server"
            " was away for that long, requests fail at once until it is back. Live."
        ),
        "validation_query": phrase("PING is what a Redis is asked. Live."),
    },
    defaults=PoolSpec(validation_query="PING", connection_timeout=5.0),
    declares={
        "URL": (is_redis_url, "a URL such as redis://host:6379/0, rediss://host or unix:///path"),
        "OPTIONS": (
            lambda v: v is None or (isinstance(v, Mapping) and all(isinstance(name, str) for name in v)),
            "a dict of keyword arguments of redis-py's connections",
        ),
        "CLUSTER": (lambda v: v is None or isinstance(v, bool), "True, of a node of a Redis Cluster, or False"),
    },
    query_error=ping_error,
)
