"""A Django site of the least: DATABASE_URL says where its data is, POOL holds the pool's settings."""

import json
import os

from tests.pools import database

SECRET_KEY = "only-for-tests-only-for-tests"
ALLOWED_HOSTS = ["*"]
DEBUG = "RELOADED" in os.environ
INSTALLED_APPS: list[str] = []
MIDDLEWARE: list[str] = []
USE_TZ = True
ROOT_URLCONF = os.environ.get("ROOT_URLCONF", "tests.faults.programs.views")
DATABASES = {
    "default": database(
        os.environ["DATABASE_URL"], pool=json.loads(os.environ.get("POOL", "true")), application_name="program"
    )
}
