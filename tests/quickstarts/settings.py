"""A site of the least with one package in it, set up as the package's own documentation says; PACKAGE names it."""

import json
import os

from tests.pools import database

PACKAGE = os.environ["PACKAGE"]

SECRET_KEY = "only-for-tests-only-for-tests"
ALLOWED_HOSTS = ["*"]
USE_TZ = True
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
ROOT_URLCONF = "tests.quickstarts.urls"
INSTALLED_APPS = ["django.contrib.contenttypes", "django.contrib.auth", "tests.quickstarts.notes"]
MIDDLEWARE: list[str] = []
DATABASES = {"default": database(os.environ["DATABASE_URL"], pool=json.loads(os.environ["POOL"]))}

if PACKAGE == "tenants":
    DATABASES["default"]["ENGINE"] = "django_tenants.postgresql_backend"
    ORIGINAL_BACKEND = "poolmgr.backends.postgresql"
    DATABASE_ROUTERS = ["django_tenants.routers.TenantSyncRouter"]
    MIDDLEWARE = ["django_tenants.middleware.main.TenantMainMiddleware"]
    SHARED_APPS = [
        "django_tenants",
        "tests.quickstarts.customers",
        "django.contrib.contenttypes",
        "django.contrib.auth",
    ]
    TENANT_APPS = ["tests.quickstarts.notes"]
    INSTALLED_APPS = SHARED_APPS + TENANT_APPS
    TENANT_MODEL, TENANT_DOMAIN_MODEL = "customers.Client", "customers.Domain"
    TENANT_LIMIT_SET_CALLS = os.environ.get("LIMIT_SET_CALLS") == "1"
elif PACKAGE == "pghistory":
    INSTALLED_APPS += ["pgtrigger", "pghistory", "tests.quickstarts.tracked"]
    MIDDLEWARE = ["pghistory.middleware.HistoryMiddleware"]
elif PACKAGE == "silk":
    INSTALLED_APPS += ["django.contrib.sessions", "silk"]
    MIDDLEWARE = ["silk.middleware.SilkyMiddleware"]
    TEMPLATES = [{"BACKEND": "django.template.backends.django.DjangoTemplates", "APP_DIRS": True}]
elif PACKAGE == "procrastinate":
    INSTALLED_APPS += ["procrastinate.contrib.django"]
elif PACKAGE == "channels":
    INSTALLED_APPS += ["channels"]
    CHANNEL_LAYERS = {"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}}
