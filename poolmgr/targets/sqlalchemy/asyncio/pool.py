"""AsyncManagedQueuePool: what SQLAlchemy's asyncio engines call, on pools that are managed, one for each event loop."""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import Any

from poolmgr.pools.aio.bridge import running_loop
from poolmgr.pools.sockets import Ear
from poolmgr.targets.sqlalchemy.asyncio.backing import AsyncBacking
from poolmgr.targets.sqlalchemy.asyncio.driver import let_go
from poolmgr.targets.sqlalchemy.asyncio.greenlets import await_only, greenlet_spawn, in_greenlet
from poolmgr.targets.sqlalchemy.library import sqlalchemy
from poolmgr.targets.sqlalchemy.pool import LINGER, ManagedQueuePool
from poolmgr.targets.sqlalchemy.stopping import listen_for_the_end


class AsyncManagedQueuePool(ManagedQueuePool):
    """The same for ``create_async_engine(poolclass=…)``, to be used from whichever event loop."""

    _is_asyncio = True
    _backing_class = AsyncBacking
    _dialect = sqlalchemy.pool.AsyncAdaptedQueuePool._dialect

    def connect(self) -> Any:
        """SQLAlchemy's: the stand-in for a connection that a borrower has."""
        made = super().connect()
        if (record := made._connection_record) is not None:  # else a listener has detached it
            record.borrower = record.fairy_ref
        return made

    def _do_return_conn(self, record: Any) -> None:
        slot = getattr(record, "slot", None)
        if slot is None:
            super()._do_return_conn(record)
            return
        if record.dbapi_connection is None:
            _part(record)
        record.borrower = None
        # SQLAlchemy rolls back what it has begun with asyncpg, and knows of no other transaction.
        fit = not record._is_hard_or_soft_invalidated() and not record.is_spoilt()
        slot.pool.put_back(slot, fit)

    def _direct(self) -> Any:
        first, well = self._backing.first, False
        if not await_only(first.turn()):
            return super()._direct()
        try:
            made = super()._direct()
            well = True
        finally:
            first.ended(well)
        return made

    def _close_connection(self, connection: Any, *, terminate: bool = False) -> None:
        """SQLAlchemy's, to which a cancel is an error to log: a loop that ends cancels the pool's own tasks."""
        close = self._dialect.do_terminate if terminate else self._dialect.do_close
        self.logger.debug("%s: %r", close.__name__, connection)
        try:
            close(connection)
        except Exception:
            self.logger.exception("%s failed: %r", close.__name__, connection)

    def _hear(self, ear: Ear) -> None:
        if in_greenlet():
            await_only(asyncio.to_thread(ear.hears_the_end, monotonic() + LINGER))
        else:
            ear.hears_the_end(monotonic())

    def dispose(self) -> None:
        """Close what is idle now and what is used as it returns, in all loops; the next use opens other connections."""
        if in_greenlet():
            await_only(asyncio.to_thread(self._backing.dispose))
        else:
            self._backing.dispose()


def dispose_of(pool: Any) -> None:
    """Close what is idle in an asyncio pool of SQLAlchemy's own: here in a greenlet, soon in a loop, else by force."""
    if in_greenlet():
        pool.dispose()
    elif running_loop() is not None:
        disposing = asyncio.create_task(greenlet_spawn(pool.dispose))
        _under_way.add(disposing)
        disposing.add_done_callback(_under_way.discard)
    else:
        while pool.checkedin():
            let_go(pool._pool.get(False))


_under_way: set[Any] = set()


def _part(record: Any) -> None:
    """A record has lost its connection, which lives on, unless nobody has it any more: then it is about to be closed."""
    driver_s, record.driver_s = record.driver_s, None
    if record.borrower is not None and record.borrower() is None:
        listen_for_the_end(record, driver_s, used=True)
