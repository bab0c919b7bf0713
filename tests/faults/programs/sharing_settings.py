"""A site with a target whose budget it shares, and a control database elsewhere; the environment says where, as JSON.

The target is the database alias "work", the cache, or what is declared as "work", whichever has a URL.
"""

import json
import os

from tests.pools import database

_NAME = os.environ.get("MEMBER", "nobody")

SECRET_KEY = "only-for-tests-only-for-tests"
INSTALLED_APPS = ["poolmgr"]
USE_TZ = True
POOLMGR = json.loads(os.environ["POOLMGR"])

_POOL = json.loads(os.environ.get("POOL", "true"))
if _URL := os.environ.get("CACHE_URL"):
    _BACKEND = "django.core.cache.backends.redis.RedisCache"
    _OPTIONS = {"pool_class": "poolmgr.targets.redis.caches.CachePool", "POOL": _POOL, "client_name": _NAME}
    CACHES = {"default": {"BACKEND": _BACKEND, "LOCATION": _URL, "OPTIONS": _OPTIONS}}
if _URL := os.environ.get("ENGINE_URL"):
    _URL = f"{_URL.replace('postgresql:', 'postgresql+psycopg:')}?application_name={_NAME}"
    POOLMGR["TARGETS"] = {"work": {"KIND": "sqlalchemy", "URL": _URL, "POOL": _POOL}}
if _URL := os.environ.get("VECTORS_URL"):
    _OPTIONS = {"server_settings": {"application_name": _NAME}}
    POOLMGR["TARGETS"] = {"work": {"KIND": "asyncpg", "URL": _URL, "POOL": _POOL, "OPTIONS": _OPTIONS}}

DATABASES = {
    "default": database(os.environ["CONTROL_URL"], pool={"min_size": 0, "max_size": 2}, application_name=_NAME),
}
if _URL := os.environ.get("WORK_URL"):
    DATABASES["work"] = database(_URL, pool=_POOL, application_name=_NAME)
if _URL := os.environ.get("TASKS_URL"):
    INSTALLED_APPS += ["django_async_backend"]
    DATABASES["work"] = {
        **database(_URL, pool=_POOL, application_name=_NAME),
        "ENGINE": "poolmgr.backends.async_postgresql",
    }
