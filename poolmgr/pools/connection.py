"""A connection that notices what its borrower does to it without a statement."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from operator import attrgetter
from typing import Any, get_origin

import psycopg
from psycopg import IsolationLevel

from poolmgr.pools.ledger import Entry

_CHARACTERISTICS = "transaction characteristics"
_ATTRIBUTE = "attribute of the connection"
_HANDLER = "notice or notify handler"


def _pinning(name: str) -> Any:
    """An attribute of psycopg's that pins when it is set. Read at each cursor, hence by attrgetter and not by Python."""

    def write(self: PooledConnection, value: Any) -> None:
        setattr(self, f"_{name}", value)
        self._pin(_ATTRIBUTE)

    return property(attrgetter(f"_{name}"), write)


def _pinning_too(name: str) -> Any:
    """The same for what is a property in psycopg already."""
    theirs: Any = getattr(psycopg.Connection, name)

    def write(self: PooledConnection, value: Any) -> None:
        theirs.fset(self, value)
        self._pin(_ATTRIBUTE)

    return property(theirs.fget, write)


class PooledConnection(psycopg.Connection[Any]):
    """A psycopg connection with its ledger entry: what a borrower changes in Python pins it as a statement does.

    It has no entry while it is configured: what is set by then is what ``make_anew()`` goes back to.
    """

    entry: Entry

    row_factory = _pinning("row_factory")
    cursor_factory = _pinning("cursor_factory")
    server_cursor_factory = _pinning("server_cursor_factory")
    prepare_threshold = _pinning_too("prepare_threshold")
    prepared_max = _pinning_too("prepared_max")

    def enter(self, entry: Entry) -> None:
        """Begin to keep account of it, as it is now."""
        self._made = {name: getattr(self, name) for name in _ATTRIBUTES}
        self._made_handlers = self._notice_handlers[:], self._notify_handlers[:]
        self.entry = entry

    def make_anew(self) -> None:
        """Forget what borrowers have set, and what psycopg knows of prepared statements; the pins stay as they are."""
        pins = set(self.entry.pins)
        self.isolation_level = self.read_only = self.deferrable = None
        for name, value in self._made.items():
            setattr(self, name, value)
        self._notice_handlers[:], self._notify_handlers[:] = self._made_handlers
        # The server has dropped them: they must be neither used nor deallocated once more.
        self._prepared.clear()
        self._prepared._to_flush.clear()
        self.entry.pins = pins

    def add_notice_handler(self, callback: Callable[[Any], None]) -> None:
        super().add_notice_handler(callback)
        self._pin(_HANDLER)

    def add_notify_handler(self, callback: Callable[[Any], None]) -> None:
        super().add_notify_handler(callback)
        self._pin(_HANDLER)

    def _set_isolation_level(self, value: IsolationLevel | None) -> None:
        super()._set_isolation_level(value)
        self._pin(_CHARACTERISTICS)

    def _set_read_only(self, value: bool | None) -> None:
        super()._set_read_only(value)
        self._pin(_CHARACTERISTICS)

    def _set_deferrable(self, value: bool | None) -> None:
        super()._set_deferrable(value)
        self._pin(_CHARACTERISTICS)

    def _pin(self, reason: str) -> None:
        if entry := getattr(self, "entry", None):
            entry.pins.add(reason)


@cache
def pooled(given: Any) -> type[PooledConnection]:
    """A connection class of the site's own as one of ours."""
    theirs: type[Any] = get_origin(given) or given
    return theirs if issubclass(theirs, PooledConnection) else type(theirs.__name__, (PooledConnection, theirs), {})


_ATTRIBUTES = ("row_factory", "cursor_factory", "server_cursor_factory", "prepare_threshold", "prepared_max")
