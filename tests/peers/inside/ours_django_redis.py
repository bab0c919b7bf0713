"""Each cache in the settings of django-redis's tests has our connection factory, and a pool of its own."""

import json
import os
from importlib import import_module
from typing import Any

from poolmgr.pools import registry

_part = json.loads(os.environ["PEER_SUITE"])["part"]
_OURS = "poolmgr.targets.redis.django_redis."
#: The OPTIONS of each cache, and what was in them: one of the tests empties them, which theirs does without.
_options: list[tuple[dict[str, Any], dict[str, Any]]] = []


def pytest_collection_modifyitems(items: list[Any]) -> None:
    """Their settings can be imported by now, and were not read yet."""
    if _part is None:
        return
    for cache in import_module(f"settings.{_part}").CACHES.values():
        factory = "SentinelConnectionFactory" if "SENTINELS" in cache["OPTIONS"] else "ConnectionFactory"
        cache["OPTIONS"].update(CONNECTION_FACTORY=_OURS + factory, POOL={})
        _options.append((cache["OPTIONS"], dict(cache["OPTIONS"])))


def pytest_runtest_logfinish() -> None:
    """Some tests go on with the client of settings that they have changed, which then has the target's pool."""
    for options, before in _options:
        options.clear()
        options.update(before)
    registry.close_all()
