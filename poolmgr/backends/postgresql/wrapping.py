"""The cursors that Django is given: what each query makes of them, by shorter ways than Django's where those are its own."""

from __future__ import annotations

import sys
from asyncio import _get_running_loop
from typing import Any

from django.conf import settings
from django.db.backends import utils
from django.db.backends.postgresql import base as native
from django.db.backends.postgresql.psycopg_any import register_tzloader
from psycopg.pq import Format

from poolmgr.backends.postgresql.cursors import ServerSideCursor
from poolmgr.backends.postgresql.patches import Django, is_own, known

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
    """The part of ``Pooled`` that makes cursors."""

    def create_cursor(self, name: str | None = None) -> Any:
        conn = self.connection
        entry = getattr(conn, "entry", None)
        if entry is None:
            return super().create_cursor(name)
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
