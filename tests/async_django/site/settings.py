"""A Django site of the least: DATABASE_URL says where its data is, POOL holds the pool's settings, HALF who queries."""

import json
import os

from tests.pools import database

SECRET_KEY = "only-for-tests-only-for-tests"
ALLOWED_HOSTS = ["*"]
HALF = os.environ["HALF"]
INSTALLED_APPS = ["django.contrib.contenttypes", "django.contrib.auth", "django.contrib.postgres"]
# One that is not async has Django run each view in another task than what it streams.
MIDDLEWARE = os.environ["MIDDLEWARE"].split()
USE_TZ = True
ROOT_URLCONF = "tests.async_django.site.views"
ASGI_APPLICATION = "tests.async_django.site.asgi.application"
DATABASES = {"default": database(os.environ["DATABASE_URL"], pool=json.loads(os.environ["POOL"]))}
if HALF == "tasks":
    INSTALLED_APPS += ["django_async_backend"]
    # Without them the end of a request is known all the same.
    ASYNC_BACKEND_DISABLE_REQUEST_SIGNALS = "WITHOUT_SIGNALS" in os.environ
    DATABASES["default"]["ENGINE"] = "poolmgr.backends.async_postgresql"
LOGGING = {"version": 1, "disable_existing_loggers": True}
