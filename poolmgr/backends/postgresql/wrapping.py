"""The cursors that Django is given: what each query makes of them, by shorter ways than Django's where those are its own."""

from __future__ import annotations

import sys
from asyncio import _get_running_loop
from collections.abc import Callable
from typing import Any

from django.conf import settings
from django.db.backends import utils
from django.db.backends.postgresql import base as native
from django.db.backends.postgresql.psycopg_any import register_tzloader
from psycopg.pq import Format

from poolmgr.backends.postgresql.cursors import ServerSideCursor
from poolmgr.backends.postgresql.explicit import OWN, PINNED
from poolmgr.backends.postgresql.lifecycle import Request, latest_request
from poolmgr.backends.postgresql.patches import Django, is_own, known
from poolmgr.pools.forks import attend, here
from poolmgr.pools.labels import current_label
from poolmgr.targets.postgresql.managed import ManagedPool

_Wrapper = utils.CursorWrapper
_TEXT = Format.TEXT
_TIMESTAMPTZ = native.TIMESTAMPTZ_OID
#: What the settings remember of a setting that was read before; Django's own way to it asks twice, in Python.
_remembered = object.__getattribute__


class CursorWrapper(_Wrapper):
    """Django's, which finds these by their names at each call, and wraps them anew in what translates their errors."""

    def fetchone(self) -> Any:
        try:
            return self.cursor.fetchone()
        except BaseException:
            self.db.wrap_database_errors.__exit__(*sys.exc_info())
            raise

    def fetchmany(self, *args: Any, **kwargs: Any) -> Any:
        try:
            return self.cursor.fetchmany(*args, **kwargs)
        except BaseException:
            self.db.wrap_database_errors.__exit__(*sys.exc_info())
            raise

    def fetchall(self) -> Any:
        try:
            return self.cursor.fetchall()
        except BaseException:
            self.db.wrap_database_errors.__exit__(*sys.exc_info())
            raise

    def close(self) -> None:
        self.cursor.close()


#: What would be hidden from Django's class, should somebody put it there.
_SHORTER = frozenset({"fetchone", "fetchmany", "fetchall", "close"})


class _Seen:
    """Django's class when it was last looked through: how many attributes it had, and whether ours hides none of them."""

    number = -1
    hides_nothing = False


_seen = _Seen()


def _look_through() -> bool:
    _seen.number = len(_Wrapper.__dict__)
    _seen.hides_nothing = _SHORTER.isdisjoint(_Wrapper.__dict__)
    return _seen.hides_nothing


class CursorMaking(native.DatabaseWrapper):
    """The part of ``Pooled`` that makes cursors, for which it takes a connection."""

    connection: Any
    in_atomic_block: bool
    _managed: ManagedPool | None
    _guest_of: Request | None
    _direct: bool
    _keeps: bool
    _uses_prepared: bool
    _makes_own_cursors: bool
    _busy: int

    def cursor(self) -> Any:
        """As Django's, which learns from an exception, at every call, that no event loop runs in this thread."""
        if self._makes_own_cursors:
            return self._tell_apart(super().cursor)
        if _get_running_loop() is None and (Django.cursor is known.cursor or is_own("cursor")):
            return self._cursor()
        return super().cursor()

    def chunked_cursor(self) -> Any:
        make = super().chunked_cursor
        return self._tell_apart(make) if self._makes_own_cursors else make()

    def _tell_apart(self, make: Callable[[], Any]) -> Any:
        """A cursor, and of what the site's subclass has set while it made that: it will set it again for the next."""
        before = getattr(self.connection, "entry", None)
        pins = set() if before is None else set(before.pins)
        cursor = make()
        entry = getattr(self.connection, "entry", None)
        if entry is not None and (new := entry.pins - pins - {PINNED}):
            entry.pins -= new
            entry.pins.add(OWN)
        return cursor

    def _cursor(self, name: str | None = None) -> Any:
        if not here:
            attend()
        self._busy += 1
        try:
            if self._uses_prepared:
                # Not a query of anybody's whom a guard could forbid it.
                return self._prepare_cursor(self.create_cursor(name))  # type: ignore[attr-defined]
            if self._direct or (Django._cursor is not known._cursor and not is_own("_cursor")):  # type: ignore[attr-defined]
                return super()._cursor(name)  # type: ignore[misc]
            if self._guest_of is not None and self.connection is not None:
                self._visit_again()
            self.ensure_connection()
            return self._prepare_cursor(self.create_cursor(name))  # type: ignore[attr-defined]
        except BaseException:
            # As a block of it would do, at a price where nothing fails.
            self.wrap_database_errors.__exit__(*sys.exc_info())
            raise
        finally:
            self._busy -= 1

    def _visit_again(self) -> None:
        """Before an executor's thread uses what session state made it keep: it may be over with that, or another's."""
        managed = self._managed
        if managed is None or self.in_atomic_block:
            return
        if managed.took_back(self.connection) or self._guest_of is not latest_request():
            self.close()

    def create_cursor(self, name: str | None = None) -> Any:
        conn = self.connection
        entry = getattr(conn, "entry", None)
        if entry is None:
            return super().create_cursor(name)
        if self._keeps:
            label = current_label()
            if label is not entry.label and label is not None and self._managed is not None:
                self._managed.held_for(conn, label)
        if name and self.settings_dict["OPTIONS"].get("server_side_binding") is not True:
            cursor: Any = ServerSideCursor(conn, name=name, scrollable=False, withhold=conn.autocommit)  # type: ignore[call-arg]
            timezone = conn.adapters.get_loader(_TIMESTAMPTZ, _TEXT).timezone
        elif (
            name
            or _get_running_loop() is not None
            or (Django.create_cursor is not known.create_cursor and not is_own("create_cursor"))
        ):
            cursor, timezone = super().create_cursor(name), self.timezone
        else:
            # Django learns from an exception, at every call, that no event loop runs in this thread.
            cursor = conn.cursor()
            timezone = conn.adapters.get_loader(_TIMESTAMPTZ, _TEXT).timezone
        if timezone != self.timezone:
            register_tzloader(self.timezone, cursor)
        cursor.attach(self, entry)
        return cursor

    def make_cursor(self, cursor: Any) -> Any:
        if Django.make_cursor is known.make_cursor or is_own("make_cursor"):
            same = len(_Wrapper.__dict__) == _seen.number
            if utils.CursorWrapper is _Wrapper and (_seen.hides_nothing if same else _look_through()):
                return CursorWrapper(cursor, self)
        return super().make_cursor(cursor)

    @property
    def queries_logged(self) -> Any:
        if Django.queries_logged is not known.queries_logged and not is_own("queries_logged"):
            return super().queries_logged
        try:
            return self.force_debug_cursor or _remembered(settings, "DEBUG")
        except AttributeError:
            return settings.DEBUG
