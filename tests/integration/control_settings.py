"""The site's settings for the processes of a test's fleet: POOLMGR and the pool come from the environment, as JSON."""

import json
import os

from poolsite.settings import *  # noqa: F403
from poolsite.settings import DATABASES, MIDDLEWARE

# Without the site's cache and results, which are targets too: these fleets have pools to databases alone.
CACHES = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}
SESSION_ENGINE = "django.contrib.sessions.backends.db"
CELERY_RESULT_BACKEND = None
POOLMGR = json.loads(os.environ["TEST_POOLMGR"])
DATABASES["default"]["OPTIONS"]["pool"] = json.loads(os.environ.get("TEST_POOL", '{"min_size": 1, "max_size": 4}'))
if "TEST_CONTROL" in os.environ:
    DATABASES["control"] = {**DATABASES["default"], "NAME": os.environ["TEST_CONTROL"]}
if "TEST_URLCONF" in os.environ:
    ROOT_URLCONF = os.environ["TEST_URLCONF"]
if "TEST_STRICT" in os.environ:
    # Everything of Django's that asks the session or the user at every request.
    SESSION_SAVE_EVERY_REQUEST = CSRF_USE_SESSIONS = True
    MESSAGE_STORAGE = "django.contrib.messages.storage.session.SessionStorage"
    MIDDLEWARE = [*MIDDLEWARE, "django.contrib.auth.middleware.LoginRequiredMiddleware"]
# Hashing slowly is the point of a password hasher, and not of a test that logs in.
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
CELERY_TASK_ALWAYS_EAGER = False
