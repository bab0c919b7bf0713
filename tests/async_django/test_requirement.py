"""What the ENGINE needs: where that is not there, a sentence names what works."""

import sys
from collections.abc import Iterator
from importlib.metadata import version
from typing import Any

import pytest
from django.db import connections
from django.db.utils import load_backend

from poolmgr import checks
from poolmgr.backends.async_postgresql import requirement
from poolmgr.exceptions import MissingLibrary

WORKS = "django-async-backend 6.1 (from 6.1.5 on) on Django 6.1 and Python 3.12 or newer"
HERE = sys.version_info >= requirement.PYTHON


@pytest.mark.parametrize(
    ("package", "python", "django", "says"),
    [
        ("6.1.5", (3, 12, 0), (6, 1, 0), ""),
        ("6.1.17", (3, 14, 1), (6, 1, 4), ""),
        (None, (3, 13, 0), (6, 1, 0), "which is not installed: pip install 'poolmgr[async-django]'. What works: "),
        (None, (3, 11, 9), (5, 2, 8), "and this is Python 3.11.9"),
        ("6.1.4", (3, 13, 0), (6, 1, 0), "and django-async-backend 6.1.4 is installed"),
        ("6.2.0", (3, 13, 0), (6, 2, 0), "and django-async-backend 6.2.0 is installed"),
        ("6.1.5", (3, 13, 0), (6, 2, 0), "and Django 6.2.0 is installed"),
        ("6.1.5", (3, 13, 0), (5, 2, 8), "and Django 5.2.8 is installed"),
        ("6.1.post1", (3, 13, 0), (6, 1, 0), "and django-async-backend 6.1.post1 is installed"),
    ],
)
def test_sentence_names_what_works(
    monkeypatch: pytest.MonkeyPatch, package: str | None, python: Any, django: Any, says: str
) -> None:
    monkeypatch.setattr(requirement, "installed", lambda: package)
    told = requirement.what_is_missing(python, django)
    assert says in told
    assert (WORKS in told) is bool(says)
    assert told.startswith(requirement.ENGINE) is bool(says)


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    changed = {alias: {**got} for alias, got in connections.settings.items()}
    changed["default"]["ENGINE"] = requirement.ENGINE
    monkeypatch.setattr(connections, "settings", changed)
    yield
    for name in [each for each in sys.modules if each.startswith(f"{requirement.ENGINE}.base")]:
        del sys.modules[name]


def test_what_is_missing_is_told_by_whoever_loads_the_engine_and_by_the_checks(
    monkeypatch: pytest.MonkeyPatch, engine: None
) -> None:
    monkeypatch.setattr(requirement, "installed", lambda: None)
    sys.modules.pop(f"{requirement.ENGINE}.base", None)
    with pytest.raises(MissingLibrary, match=requirement.PACKAGE):
        load_backend(requirement.ENGINE)
    [found] = checks.check_databases()
    assert found.id == "poolmgr.E006"
    assert WORKS in found.msg
    assert checks.check_console_lane() == []


if HERE:

    def test_application_that_is_not_installed_is_an_error(engine: None, settings: Any) -> None:
        [found] = checks.check_databases()
        assert (found.id, found.hint) == ("poolmgr.E009", "Add 'django_async_backend' to INSTALLED_APPS.")
        settings.INSTALLED_APPS = [*settings.INSTALLED_APPS, requirement.APP]
        assert checks.check_databases() == []

    def test_version_that_is_installed_is_one_that_works() -> None:
        assert requirement.what_is_missing() == ""
        assert requirement.installed() == version("django-async-backend")
