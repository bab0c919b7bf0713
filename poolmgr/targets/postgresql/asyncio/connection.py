"""psycopg's connection for asyncio, for the length of one checkout: the pool's in other clothes.

Both have the same libpq connection, of which psycopg keeps nothing in an event loop but while a task waits for an answer. So
the pool's connections belong to no loop. What a borrower sets on this one in Python is gone with it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from functools import cache, partial
from types import FunctionType, NoneType
from typing import TYPE_CHECKING, Any
from weakref import ref

import psycopg
from psycopg import pq
from psycopg.adapt import AdaptersMap
from psycopg.waiting import wait_async

from poolmgr.pools.aio.bridge import running_loop
from poolmgr.pools.cancelling import Cancel
from poolmgr.pools.forks import attend, here
from poolmgr.pools.lender import Greeting
from poolmgr.pools.sockets import hang_up
from poolmgr.targets.postgresql.asyncio.cursors import CURSOR, RUNS, SERVER_CURSOR, looking
from poolmgr.targets.postgresql.connection import PooledConnection
from poolmgr.targets.postgresql.liveness import PATIENCE
from poolmgr.targets.postgresql.parting import abandon
from poolmgr.targets.postgresql.session import ASKING, SPOILT

if TYPE_CHECKING:
    from poolmgr.targets.postgresql.managed import ManagedPool

#: Seconds for which a task that was cancelled waits for its statement to be.
_STOPS_WITHIN = 1.0
#: Values of such types don't change.
_SHARED = (NoneType, bool, int, bytes, FunctionType)
#: Of its attributes, those that change as it is used, and those that a greeting has.
_PASSING = {
    "_adapters",
    "_begin_statement",
    "_notice_handlers",
    "_notify_handlers",
    "_pipeline",
    "looked_at",
    "said",
    "_waits",
}
_OVER = "this connection went back to the pool; take another"


@cache
def nothing() -> Any:
    """A libpq connection that is closed, in the place of one that has another owner by now."""
    gone = pq.PGconn.connect_start(b"host=/nowhere")
    gone.finish()
    return gone


@cache
def _as_made() -> tuple[dict[str, Any], list[tuple[str, type[Any]]]]:
    """What psycopg gives a new connection: what all may share, and what each needs of its own.

    Its own ``__init__`` takes as long as the rest of a checkout.
    """
    given = vars(psycopg.AsyncConnection(nothing()))
    for ours in ("pgconn", "_prepared", "cursor_factory", "server_cursor_factory"):
        del given[ours]
    shared = {name: value for name, value in given.items() if isinstance(value, _SHARED)}
    return shared, [(name, type(value)) for name, value in given.items() if name not in shared]


class TaskConnection(psycopg.AsyncConnection[Any]):
    """In autocommit mode, as every connection of the pool. ``looked_at`` is what a cursor of ours has looked at.

    Once it is given back it is closed to whoever has it still, whatever becomes of the connection beneath.
    """

    looked_at: Any = None
    #: Whether an object that refers to it may go on with it once its task has ended: those of the site's and of libraries.
    is_kept_by: Callable[[Any], bool] = staticmethod(lambda user: type(user).__module__ != "builtins")

    def __init__(self, lent: PooledConnection, managed: ManagedPool, pool: Any) -> None:
        shared, own = _as_made()
        attributes = vars(self)
        attributes.update(shared)
        for name, kind in own:
            attributes[name] = kind()
        self.pgconn = pgconn = lent.pgconn
        self._handlers = pgconn.notice_handler, pgconn.notify_handler
        me: Any = ref(self)
        pgconn.notice_handler = partial(psycopg.AsyncConnection._notice_handler, me)
        pgconn.notify_handler = partial(psycopg.AsyncConnection._notify_handler, me)
        self._lent = lent
        self.session = ref(lent)
        self._managed = managed
        self._entry = entry = lent.entry
        self._epoch = entry.epoch
        entry.loan = me
        self._prepared = lent._prepared  # of the session, whoever uses it
        self._autocommit = True
        # As the settings have it.
        self._isolation_level, self._read_only = lent._isolation_level, lent._read_only
        self._deferrable = lent._deferrable
        self._pool = self.lender = pool
        self._template = pool.adapters
        self._cursor_class, self._server_cursor_class = CURSOR, SERVER_CURSOR
        self._waits = 0
        self.said = 0

    # -- what a borrower does -----------------------------------------------------------------------------------------

    @property
    def cursor_factory(self) -> Any:
        return self._cursor_class

    @cursor_factory.setter
    def cursor_factory(self, factory: Any) -> None:
        self._cursor_class = looking(factory)

    @property
    def server_cursor_factory(self) -> Any:
        return self._server_cursor_class

    @server_cursor_factory.setter
    def server_cursor_factory(self, factory: Any) -> None:
        self._server_cursor_class = looking(factory)

    @property
    def prepare_threshold(self) -> Any:
        return self._prepared.prepare_threshold

    @prepare_threshold.setter
    def prepare_threshold(self, value: Any) -> None:
        self._mine().prepare_threshold = value

    @property
    def prepared_max(self) -> Any:
        return self._lent.prepared_max

    @prepared_max.setter
    def prepared_max(self, value: Any) -> None:
        self._mine().prepared_max = value

    @property
    def adapters(self) -> Any:
        """psycopg's; what a borrower registers is theirs alone. Those of the pool are for all."""
        if self._adapters is None:
            self._adapters = AdaptersMap(self._template)
        return self._adapters

    def pin(self, reasons: Iterable[str]) -> None:
        """Note what a statement leaves behind. Raises ``InterfaceError`` once the connection went back."""
        self._mine().entry.pins.update(reasons)

    def note(self, query: Any) -> None:
        """What is said last, for whoever asks what its borrower is at."""
        self._entry.query, self._entry.query_epoch = query, self._epoch

    def _mine(self) -> PooledConnection:
        """The pool's connection, while this is its borrower's."""
        if self._entry.epoch != self._epoch or self.is_over:
            raise psycopg.InterfaceError(_OVER)
        return self._lent

    async def wait(self, gen: Any, interval: float = 0.1, **kwargs: Any) -> Any:  # type: ignore[override]
        """psycopg's, by which all goes that it sends. Raises ``InterfaceError`` once the connection went back."""
        if not here:
            attend()
        mine = self._mine()
        if gen.__name__ in RUNS and gen is not self.looked_at:
            mine.entry.pins.add("cursor of another class")
        self.looked_at = None
        self._waits += 1
        self.said += 1
        self._entry.mark(ASKING)
        try:
            return await wait_async(gen, self.pgconn.socket, interval=interval, **kwargs)
        except asyncio.CancelledError:
            if self.pgconn.transaction_status == pq.TransactionStatus.ACTIVE:
                await self._stop(gen)
            raise
        finally:
            self._waits -= 1
            self.mark_at_rest()
            if self.is_over and not self._waits:
                self._go_back()

    def mark_at_rest(self) -> None:
        """Unless something needs it still, or it went back."""
        if not self._waits and self._entry.epoch == self._epoch:
            self._entry.mark_answered(self._autocommit and not self.pgconn.transaction_status)

    async def _stop(self, gen: Any) -> None:
        """Have what runs stopped, so that the connection may stay; one whose server takes its time is closed.

        psycopg's own wait for that lasts 5 seconds, or for ever, in the way of whoever has cancelled.
        """
        try:
            async with asyncio.timeout(_STOPS_WITHIN):
                await self.cancel_safe(timeout=_STOPS_WITHIN)
                await wait_async(gen, self.pgconn.socket, interval=_STOPS_WITHIN)
        except psycopg.errors.QueryCanceled:
            pass
        except BaseException as ex:
            # Where it goes on at the server, the pool has it cancelled and hears its end.
            self._lent.close()
            if not isinstance(ex, Exception):
                raise

    async def tpc_begin(self, xid: Any) -> None:
        self._entry.pins.add("two-phase transaction")
        await super().tpc_begin(xid)

    async def close(self) -> None:
        """Give it back, to be closed and replaced by its pool. Another task that waits for an answer gets an error."""
        self.end()

    # -- what the pool and other libraries do -------------------------------------------------------------------------

    def begin_loan(self, greeting: Greeting, is_kept_by: Callable[[Any], bool]) -> None:
        """As ``pools.lender.TaskLoan`` has it."""
        self.is_kept_by = is_kept_by
        self._autocommit = False
        self._template = greeting.adapters or self._template
        self._notice_handlers += greeting.notices
        self._notify_handlers += greeting.notifications

    def greet(self, hook: Callable[[], object]) -> Greeting:
        """As ``pools.lender.TaskLoan`` has it."""
        before, pins = self._settings(), set(self._entry.pins)
        hook()
        if not (self._entry.pins <= pins and self._settings() == before):
            return Greeting()
        # Copies: what this borrower registers from now on is theirs alone.
        return Greeting(AdaptersMap(self.adapters), (*self._notice_handlers,), (*self._notify_handlers,), lasts=True)

    def _settings(self) -> dict[str, Any]:
        """What may be set on it in Python."""
        return {name: value for name, value in vars(self).items() if name not in _PASSING}

    def read(self, work: Callable[[], object]) -> None:
        """As ``pools.lender.TaskLoan`` has it."""
        self._lent.read(work)

    def end(self) -> None:
        """As ``close()``, which waits for nothing."""
        self._spoil()
        self.part()

    @property
    def is_over(self) -> bool:
        """Whether it was given back."""
        return self._pool is None

    def part(self) -> None:
        """Be over, and give the pool's connection back; at a second call nothing is done.

        Where another task waits for an answer still, that is broken off, and the connection goes back when it has heard:
        until then their loop watches the socket, which must not be closed.
        """
        if self.is_over:
            return
        lent, self._pool = self._lent, None
        if lent.entry.epoch == self._epoch:
            lent.pgconn.notice_handler, lent.pgconn.notify_handler = self._handlers
        if self._pipeline is not None or self._waits:
            self._spoil()
        if not self._waits:
            self._go_back()
            return
        # Whom it reaches is known for as long as nobody else has the connection: nobody will.
        abandon(Cancel(lent.pgconn))
        if (loop := running_loop()) is not None:
            loop.call_later(PATIENCE, self._hang_up)
        else:
            self._hang_up()

    def _spoil(self) -> None:
        """Have the pool close it when it comes back."""
        if self._lent.entry.epoch == self._epoch:
            self._entry.pins.add(SPOILT)

    def _hang_up(self) -> None:
        if self._waits and not self.closed:
            hang_up(self.fileno())

    def _go_back(self) -> None:
        self.pgconn = nothing()
        self._managed.put_back(self._lent, self._epoch, waits=False)
