"""Django set up, and its test databases made, for a suite that its own runner runs otherwise."""

import os
from typing import Any

import django

_made: Any = None


def pytest_configure() -> None:
    global _made
    os.environ["DJANGO_SETTINGS_MODULE"] = "peer_async_django_settings"
    django.setup()
    from django.test.utils import setup_databases, setup_test_environment

    setup_test_environment()
    _made = setup_databases(verbosity=0, interactive=False)


def pytest_unconfigure() -> None:
    from django.test.utils import teardown_databases

    if _made is not None:
        teardown_databases(_made, verbosity=0)
