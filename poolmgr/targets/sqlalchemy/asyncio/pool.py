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

    def __init__(self, creator: Any, _backing: Any = None, **kw: Any) -> None:
        super().__init__(creator, _backing=_backing, **kw)
        if _backing is None:  # else it has the listeners of the one before
            sqlalchemy.event.listen(self, "reset", _listen_where_it_was_dropped)

    def _do_return_conn(self, record: Any) -> None:
        slot = getattr(record, "slot", None)
        if slot is None:
            super()._do_return_conn(record)
            return
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


def _listen_where_it_was_dropped(connection: Any, record: Any, state: Any) -> None:
    # The garbage collector parts it from its record, which can't tell any more what the server is about to lose.
    if not state.asyncio_safe:
        listen_for_the_end(record, record.driver_connection)
