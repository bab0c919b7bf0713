"""The Celery application of a declared target."""

from __future__ import annotations

import re
from typing import Any

from django.utils.module_loading import import_string

from poolmgr.conf import Declared
from poolmgr.exceptions import ConfigurationError
from poolmgr.pools import declaring
from poolmgr.secrets import scrub
from poolmgr.targets.kombu.kind import KOMBU
from poolmgr.targets.kombu.library import celery

_CREDENTIALS = re.compile(r"//[^@/]*@")


def app_of(target: str) -> Any:
    """Raises ``KeyError`` for one that the settings don't name, ``ConfigurationError`` where APP is no application."""
    return load(declaring.declared(KOMBU)[target])


def load(each: Declared) -> Any:
    path = str(each.rest["APP"])
    try:
        found = import_string(path.replace(":", "."))
    except ImportError as ex:
        raise ConfigurationError(f"{each.where}['APP'] is {path!r}, which can't be imported: {ex}") from None
    if not isinstance(found, celery.Celery):
        raise ConfigurationError(f"{each.where}['APP'] is {path!r}, but must be the path of a Celery application")
    return found


def address_of(connection: Any) -> str:
    """Where a connection of kombu's leads, for people, without user and password."""
    return scrub(_CREDENTIALS.sub("//", connection.as_uri())).rstrip("/")
