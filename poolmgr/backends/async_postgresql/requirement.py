"""What the ENGINE for tasks needs, and a sentence where something else is there.

The package makes a large part of Django's ORM anew from the source of one version of Django's, and the wrapper overrides
what is its own inside: so only what was tried is let in.
"""

from __future__ import annotations

import sys
from importlib.metadata import PackageNotFoundError, version

import django

from poolmgr.exceptions import MissingLibrary

ENGINE = "poolmgr.backends.async_postgresql"
PACKAGE = "django-async-backend"
#: The application that the package has Django install.
APP = "django_async_backend"
PYTHON = (3, 12)
DJANGO = (6, 1)
#: Within which the package's releases work: the first that was tried, and the first that was not.
FIRST, BEYOND = (6, 1, 5), (6, 2)
_WORKS = f"{PACKAGE} 6.1 (from 6.1.5 on) on Django 6.1 and Python 3.12 or newer"
_INSTALL = "pip install 'poolmgr[async-django]'"


def what_is_missing(
    python: tuple[int, ...] = sys.version_info[:3], django_version: tuple[int, ...] = django.VERSION[:3]
) -> str:
    """What keeps the ENGINE from working here and what works, as a sentence without its full stop; else empty."""
    found = installed()
    if python < PYTHON:
        wrong = f"this is Python {_dotted(python)}"
    elif found is None:
        return f"{ENGINE} needs {PACKAGE}, which is not installed: {_INSTALL}. What works: {_WORKS}"
    elif not FIRST <= _numbers(found) < BEYOND:
        wrong = f"{PACKAGE} {found} is installed"
    elif django_version[:2] != DJANGO:
        wrong = f"Django {_dotted(django_version)} is installed"
    else:
        return ""
    return f"{ENGINE} works with {_WORKS}, and {wrong}"


def expect_package() -> None:
    """Raises ``MissingLibrary`` where what the ENGINE needs is not there."""
    if missing := what_is_missing():
        raise MissingLibrary(f"{missing}.")


def installed() -> str | None:
    """The package's version; None where it is not there."""
    try:
        return version(PACKAGE)
    except PackageNotFoundError:
        return None


def _numbers(found: str) -> tuple[int, ...]:
    """Those that a version begins with."""
    numbers: list[int] = []
    for part in found.split("."):
        if not part.isdigit():
            break
        numbers.append(int(part))
    return tuple(numbers)


def _dotted(numbers: tuple[int, ...]) -> str:
    return ".".join(map(str, numbers))
