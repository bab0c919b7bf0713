"""The site's settings on the servers of this test process. Importing this starts them: the settings hold their addresses."""

import os

from .servers import servers
from .workers import SERVERS_OF, has_addresses, worker

if not has_addresses():
    _servers = servers()
    os.environ.update(
        {
            SERVERS_OF: worker(),
            "SECRET_KEY": "only-for-tests-only-for-tests-only-for-tests",
            "ALLOWED_HOSTS": "testserver,localhost,127.0.0.1",
            "DATABASE_URL": _servers.postgres.url("site"),
            "REDIS_URL": _servers.redis.url(),
            # The tests' client speaks plain HTTP.
            "HTTPS": "0",
        }
    )

from poolsite import settings as _site
from poolsite.settings import *  # noqa: F403
from poolsite.settings import INSTALLED_APPS, POOLMGR

INSTALLED_APPS = [*INSTALLED_APPS, "tests.emptied"]
# The site's cache and what it declares are targets too, which tests that count targets would have to know; those about such
# make their own.
POOLMGR = {key: value for key, value in POOLMGR.items() if key != "TARGETS"}
CELERY_RESULT_BACKEND = None
# The process that hands out the tests has no Redis, and so no such cache.
for _cache in getattr(_site, "CACHES", {}).values():
    for _managed in ("CONNECTION_FACTORY", "POOL"):
        _cache["OPTIONS"].pop(_managed)
SESSION_ENGINE = "django.contrib.sessions.backends.db"
# Hashing slowly is the point of a password hasher, and not of a test that logs in.
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
