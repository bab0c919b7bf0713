"""The settings of a site without django.contrib.admin."""

from tests.integration.control_settings import *  # noqa: F403
from tests.integration.control_settings import INSTALLED_APPS

INSTALLED_APPS = [app for app in INSTALLED_APPS if app != "django.contrib.admin"]
ROOT_URLCONF = "tests.integration.adminless_urls"
LOGIN_URL = "/login/"
