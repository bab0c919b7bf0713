"""The settings of the processes of benchmarks.site: where they connect, and how, comes from the environment, as JSON."""

import json
import os

SECRET_KEY = "only-for-benchmarks-only-for-benchmarks"
INSTALLED_APPS = ["django.contrib.contenttypes", "django.contrib.auth", "poolmgr"]
USE_TZ = True
DATABASES = {"default": json.loads(os.environ["BENCH_DATABASE"])}
POOLMGR = {"ROLE": "web", **json.loads(os.environ["BENCH_POOLMGR"])}
