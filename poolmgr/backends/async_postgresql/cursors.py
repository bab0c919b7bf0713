"""The cursors of tasks: what keeps their connection, and what they tell when they close."""

from __future__ import annotations

from functools import cache
from typing import Any, get_origin

import psycopg
from django_async_backend.db.backends.postgresql import async_base as theirs
from psycopg.pq import TransactionStatus

from poolmgr.backends.postgresql.cursors import HELD
from poolmgr.pools.sql.pinning import BEGINS, reasons
from poolmgr.targets.postgresql.asyncio.cursors import Looking
from poolmgr.targets.postgresql.session import SessionEntry

_SANE = (TransactionStatus.IDLE, TransactionStatus.INTRANS)


class Counted(Looking):
    """Mixed into psycopg's cursor classes.

    ``attach`` ties a cursor to one checkout: it counts as open until it is closed or collected. One that was made by
    psycopg's own ``connection.cursor()`` is not counted, but what it executes is looked at all the same.
    """

    _wrapper: Any = None
    _entry: SessionEntry
    _epoch: int

    def attach(self, wrapper: Any, entry: SessionEntry) -> None:
        self._wrapper, self._entry, self._epoch = wrapper, entry, entry.epoch
        entry.cursors += 1

    def _look(self, query: Any) -> None:
        if not (found := reasons(query, self._conn)):
            return
        if BEGINS in found:
            self._conn.begins()
        if found := found - {BEGINS}:
            self._conn.pin(found)

    async def close(self) -> None:
        wrapper, self._wrapper = self._wrapper, None
        try:
            await super().close()  # type: ignore[misc]
        finally:
            if wrapper is not None:
                self._report()
                wrapper.cursor_closed(self._entry, self._epoch)

    def _report(self) -> None:
        """Before it is counted no more."""

    def __del__(self, *args: Any) -> None:
        wrapper, self._wrapper = self._wrapper, None
        if wrapper is not None:
            wrapper.cursor_forgotten(self._entry, self._epoch)


class Declared(Counted):
    """One that the server keeps: what is WITH HOLD is there until it is closed, or the connection is cleaned."""

    _holds = False
    _transaction = 0

    def _look(self, query: Any) -> None:
        super()._look(query)
        if self._wrapper is not None:
            self._transaction = self._entry.transactions
        if not self._withhold or self._holds:  # type: ignore[attr-defined]
            return
        if self._wrapper is None:
            self._conn.pin({"server-side cursor of psycopg's own"})
            return
        self._holds = True
        self._entry.held += 1
        self._conn.pin({HELD})

    async def close(self) -> None:
        if self._wrapper is not None and self._entry.transactions != self._transaction:
            # It may have ended with the transaction that it began in: to close it now would fail the present one.
            # psycopg looks first whether a cursor exists that it does not know.
            self._described = False
        await super().close()

    def _report(self) -> None:
        if not self._holds or self._entry.epoch != self._epoch:
            return
        # In a failed transaction it can't be closed.
        if self.closed and self._conn.pgconn.transaction_status in _SANE:  # type: ignore[attr-defined]
            self._entry.held -= 1
            if not self._entry.held:
                self._entry.pins.discard(HELD)

    def __del__(self, *args: Any) -> None:
        self._close()  # type: ignore[attr-defined]
        super().__del__(*args)


class ServerSideCursor(Declared, theirs.AsyncServerSideCursor):  # type: ignore[misc]
    """A named cursor with parameters bound on the client, the default."""


class ServerBindingServerSideCursor(Declared, psycopg.AsyncServerCursor[Any]):
    """A named cursor with parameters bound by the server."""


@cache
def counted(factory: Any) -> type[Any]:
    """A cursor class, of the site's own too, as one that is counted."""
    of: type[Any] = get_origin(factory) or factory
    return of if issubclass(of, Counted) else type(of.__name__, (Counted, of), {})
