"""The site's settings for a worker that a test starts: POOLMGR comes from the environment, as JSON."""

import json
import os

from poolsite.settings import *  # noqa: F403

CACHES = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}
SESSION_ENGINE = "django.contrib.sessions.backends.db"
POOLMGR = json.loads(os.environ["TEST_POOLMGR"])
