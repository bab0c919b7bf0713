"""Cursors that look at what they execute, refuse to outlive their checkout, and report when they close."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from threading import get_ident
from time import monotonic
from typing import Any

import psycopg
from django.db.backends.postgresql import base as native
from psycopg import InterfaceError
from psycopg.pq import TransactionStatus

from poolmgr.pools.forks import attend, here
from poolmgr.pools.sql.pinning import BEGINS, reasons
from poolmgr.targets.postgresql.session import ELSEWHERE, KEPT, SessionEntry

#: The reason of a pin that ends when the cursor is closed.
HELD = "open server-side cursor"

#: The thread that collects garbage at present.
_collecting = 0


def _note_collection(phase: str, info: object) -> None:
    global _collecting
    _collecting = get_ident() if phase == "start" else 0


gc.callbacks.append(_note_collection)


class Reporting:
    """Mixed into Django's cursor classes.

    ``attach`` ties a cursor to one checkout of a pooled connection: it counts as open until it closes or is collected,
    and afterwards it can't reach the connection, which may have another owner by then. A cursor that was made by
    psycopg's own ``connection.cursor()`` is not counted, but what it executes is looked at all the same.
    """

    _entry: SessionEntry | None = None
    _epoch = -1
    _wrapper: Any = None
    _conn: Any

    def attach(self, wrapper: Any, entry: SessionEntry) -> None:
        self._wrapper = wrapper
        self._entry = entry
        self._epoch = entry.epoch
        entry.cursors += 1

    def _look(self, query: Any) -> None:
        if not here:
            attend()
        entry = self._entry
        if entry is None:
            entry = getattr(self._conn, "entry", None)
            if entry is None:
                return
        elif entry.epoch != self._epoch:
            raise InterfaceError("this cursor's connection went back to the pool; open a new cursor")
        entry.query, entry.query_epoch = query, entry.epoch
        if found := reasons(query, self._conn):
            if BEGINS in found:
                entry.transactions += 1
                entry.begun = True
                if self._wrapper is not None and self._wrapper.pool_mode == "statement":
                    self._wrapper.refuse_transaction("a statement that begins a transaction")
                found -= {BEGINS}
            entry.pins |= found
        self._conn.announced = True

    def execute(self, query: Any, params: Any = None, **more: Any) -> Any:
        self._look(query)
        try:
            if more:
                return super().execute(query, params, **more)  # type: ignore[misc]
            return super().execute(query, params)  # type: ignore[misc]
        finally:
            self._conn.announced = False

    def executemany(self, query: Any, *args: Any, **kwargs: Any) -> Any:
        self._look(query)
        try:
            return super().executemany(query, *args, **kwargs)  # type: ignore[misc]
        finally:
            self._conn.announced = False

    def stream(self, query: Any, *args: Any, **kwargs: Any) -> Iterator[Any]:
        # Looked at when it begins to run, which may be long after the call.
        self._look(query)
        try:
            yield from super().stream(query, *args, **kwargs)  # type: ignore[misc]
        finally:
            self._conn.announced = False

    @contextmanager
    def copy(self, statement: Any, *args: Any, **kwargs: Any) -> Iterator[Any]:
        self._look(statement)
        try:
            with super().copy(statement, *args, **kwargs) as copy:  # type: ignore[misc]
                yield copy
        finally:
            self._conn.announced = False

    def close(self) -> None:
        if not here:
            attend()
        entry = self._entry
        if entry is None:
            super().close()  # type: ignore[misc]
            return
        self._entry = None
        if entry.epoch != self._epoch:
            # The connection has another owner: closing a server-side cursor now would run a statement under its hands.
            self._close()  # type: ignore[attr-defined]
            return
        try:
            super().close()  # type: ignore[misc]
        finally:
            self._report(entry)

    def _report(self, entry: SessionEntry) -> None:
        wrapper, self._wrapper = self._wrapper, None
        if wrapper._thread_ident != get_ident():
            # The count belongs to the owner's thread, which looks here when it next asks whether to release.
            entry.late.append(None)
            return
        entry.cursors -= 1
        if not wrapper._keeps:
            wrapper.release_if_free()
        elif (
            entry.doing == KEPT
            and not (entry.cursors or entry.pins or self._conn.pgconn.transaction_status)
            and self._conn._autocommit
        ):
            # Where transaction mode would let go.
            entry.kept += monotonic() - entry.marked
            entry.doing = ELSEWHERE

    def __del__(self, *args: Any) -> None:
        entry = self._entry
        if entry is not None:
            self._entry = None
            if entry.epoch == self._epoch:
                self._report(entry)


class Cursor(Reporting, native.Cursor):
    """Parameters are bound on the client, Django's default."""


class ServerBindingCursor(Reporting, native.ServerBindingCursor):
    """Parameters are bound by the server: ``OPTIONS["server_side_binding"]``."""


class Fetching(Reporting):
    """A server-side cursor asks the server at each fetch, so that each makes sure that the checkout is still ours."""

    _holds = False
    _silent = False
    _transaction = 0
    _looked: tuple[SessionEntry, int] | None = None

    def _look(self, query: Any) -> None:
        super()._look(query)
        entry = getattr(self._conn, "entry", None)
        if entry is not None and self._withhold and not self._holds:  # type: ignore[attr-defined]
            # Until it is closed the server has it, also when it is only forgotten, or the connection goes back first.
            self._holds = True
            entry.held += 1
            # One of psycopg's own making is not counted among the open ones: only the pin keeps its connection.
            entry.pins.add(HELD if self._entry is not None else "server-side cursor of psycopg's own")
        self._transaction = entry.transactions if entry is not None else 0
        self._looked = None if entry is None else (entry, entry.epoch)

    def close(self) -> None:
        if not here:
            attend()
        entry = self._entry
        if self.closed:  # type: ignore[attr-defined]
            return
        if entry is not None and entry.epoch == self._epoch:
            if self._may_not_speak():
                # What the server still has ends with the transaction, or when the connection is cleaned.
                self._entry, self._silent = None, True
                self._close()  # type: ignore[attr-defined]
                self._report(entry)
                return
            if entry.transactions != self._transaction:
                # It may have ended with the transaction that it began in: to close it now would fail the present one.
                # psycopg looks first whether a cursor exists that it does not know.
                self._described = False
        super().close()

    def __del__(self, *args: Any) -> None:
        if self._entry is not None:
            # A generator that is garbage together with this cursor may close it yet, when the connection is another's.
            self._silent = True
            self._close()  # type: ignore[attr-defined]
        super().__del__(*args)

    def _may_not_speak(self) -> bool:
        """Whether a statement would come at a bad time.

        The garbage collector closes abandoned generators in the middle of other statements, of this thread's, which would
        be waited for for ever, and of other threads', after which the connection may have another owner.
        """
        return _collecting == get_ident() or self._wrapper._thread_ident != get_ident() or self._conn.lock.locked()

    def _report(self, entry: SessionEntry) -> None:
        if self._holds and self._is_gone():
            entry.held -= 1
            if not entry.held:
                entry.pins.discard(HELD)
        super()._report(entry)

    def _is_gone(self) -> bool:
        """Whether the server was told to close it, as it can't be in a failed transaction."""
        return (
            self.closed  # type: ignore[attr-defined]
            and not self._silent
            and self._conn.pgconn.transaction_status in (TransactionStatus.IDLE, TransactionStatus.INTRANS)
        )

    def _check(self) -> None:
        if not here:
            attend()
        if self._looked is not None and self._looked[0].epoch != self._looked[1]:
            raise InterfaceError("this cursor's connection went back to the pool; open a new cursor")

    def fetchone(self) -> Any:
        self._check()
        return super().fetchone()  # type: ignore[misc]

    def fetchmany(self, size: int = 0) -> Any:
        self._check()
        return super().fetchmany(size)  # type: ignore[misc]

    def fetchall(self) -> Any:
        self._check()
        return super().fetchall()  # type: ignore[misc]

    def __next__(self) -> Any:
        self._check()
        return super().__next__()  # type: ignore[misc]

    def scroll(self, value: int, mode: str = "relative") -> None:
        self._check()
        super().scroll(value, mode=mode)  # type: ignore[misc]


class ServerSideCursor(Fetching, native.ServerSideCursor):
    """A named cursor with parameters bound on the client, Django's default for ``iterator()``."""


class ServerBindingServerSideCursor(Fetching, psycopg.ServerCursor[Any]):
    """A named cursor with parameters bound by the server."""


_OURS: dict[type, type] = {native.Cursor: Cursor, native.ServerBindingCursor: ServerBindingCursor}


def reporting(factory: type) -> type:
    """Our subclass of a cursor class, also of one that the site configured."""
    if factory not in _OURS:
        _OURS[factory] = factory if issubclass(factory, Reporting) else type(factory.__name__, (Reporting, factory), {})
    return _OURS[factory]
