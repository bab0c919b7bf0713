"""What SQLAlchemy has of a database alias: the pool to borrow from, the URL to show, and one engine for all who ask."""

from __future__ import annotations

from collections.abc import Callable
from threading import Lock
from typing import Any

from django.db import connections

from poolmgr.exceptions import ConfigurationError
from poolmgr.pools.forks import on_fork
from poolmgr.targets.sqlalchemy.library import sqlalchemy


def lender_of(alias: str, attribute: str) -> Any:
    """The pool that Django's connection has as ``attribute``. Raises ``ConfigurationError`` where it has none."""
    found = getattr(connections[alias], attribute, None)
    if found is None:
        raise ConfigurationError(
            f"DATABASES[{alias!r}] has no managed pool in this process, which an engine could borrow from; its ENGINE must be"
            " 'poolmgr.backends.postgresql', and its OPTIONS['pool'] not False"
        )
    return found


def url_of(alias: str) -> Any:
    """For people: it connects nowhere."""
    got = connections[alias].settings_dict
    host, port = str(got["HOST"]) or None, int(got["PORT"]) if got["PORT"] else None
    return sqlalchemy.URL.create("postgresql+psycopg", host=host, port=port, database=str(got["NAME"]) or None)


class Engines:
    """One for each alias, made by ``make(alias)`` for whoever asks first."""

    def __init__(self, make: Callable[[str], Any]) -> None:
        self._make = make
        self._made: dict[str, Any] = {}
        self._renew_lock()
        on_fork(self._renew_lock)

    def get(self, alias: str) -> Any:
        with self._lock:
            if (found := self._made.get(alias)) is None:
                found = self._made[alias] = self._make(alias)
            return found

    def _renew_lock(self) -> None:
        # A thread that a forked child doesn't have may have held it.
        self._lock = Lock()
