"""The settings that Django's suite runs with where its caches are looked at: one Redis, on our pool or on redis-py's."""

import json
import os
from typing import Any

from suite_settings import *  # noqa: F403

_given = json.loads(os.environ["PEER_SUITE"])
_options: dict[str, Any] = (
    {"pool_class": "poolmgr.targets.redis.caches.CachePool", "POOL": {}} if _given["ours"] else {}
)

CACHES = {
    "default": {
        "BACKEND": "django.core.cache.backends.redis.RedisCache",
        "LOCATION": f"redis://127.0.0.1:{_given['redis']}",
        "OPTIONS": _options,
    }
}
TEST_RUNNER = "peer_django_runner.Runner"
