"""A Django site of the least: DATABASE_URL says where its data is, POOL holds the pool's settings."""

import json
import os

from tests.pools import parameters

_got = parameters(os.environ["DATABASE_URL"])

SECRET_KEY = "only-for-tests-only-for-tests"
ALLOWED_HOSTS = ["*"]
DEBUG = "RELOADED" in os.environ
INSTALLED_APPS: list[str] = []
MIDDLEWARE: list[str] = []
USE_TZ = True
ROOT_URLCONF = os.environ.get("ROOT_URLCONF", "tests.faults.programs.views")
DATABASES = {
    "default": {
        "ENGINE": "poolmgr.backends.postgresql",
        "NAME": _got["dbname"],
        "USER": _got["user"],
        "PASSWORD": _got["password"],
        "HOST": _got["host"],
        "PORT": _got["port"],
        "OPTIONS": {"pool": json.loads(os.environ.get("POOL", "true")), "application_name": "program"},
    }
}
