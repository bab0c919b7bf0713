"""The settings that Django's suite runs with. The parent process says in the environment what differs between runs."""

import json
import os

_given = json.loads(os.environ["DJANGO_SUITE"])

DATABASES = _given["databases"]
TEST_RUNNER = "suite_runner.Runner"
# What the expected signatures in the suite are made with.
SECRET_KEY = "django_tests_secret_key"
DEFAULT_AUTO_FIELD = "django.db.models.AutoField"
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
USE_TZ = False
