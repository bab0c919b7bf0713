"""When a Django connection takes a pooled connection, and when it gives it back."""

from __future__ import annotations

import sys
from asyncio import _get_running_loop
from threading import Lock, get_ident
from typing import Any

from django.db.backends.postgresql import base as native
from django.db.backends.postgresql.psycopg_any import IsolationLevel
from django.db.backends.signals import connection_created
from django.db.utils import DatabaseErrorWrapper
from django.utils.asyncio import async_unsafe
from django.utils.functional import cached_property
from psycopg.pq import TransactionStatus

from poolmgr.backends.postgresql.creation import DatabaseCreation
from poolmgr.backends.postgresql.cursors import HELD
from poolmgr.backends.postgresql.explicit import PINNED, ExplicitWays
from poolmgr.backends.postgresql.finding import PoolOfAlias
from poolmgr.backends.postgresql.greeting import connect_directly, greet
from poolmgr.backends.postgresql.lifecycle import Request, latest_request, wrappers
from poolmgr.backends.postgresql.making import isolation_level
from poolmgr.backends.postgresql.patches import Django, is_guarded, is_own, known
from poolmgr.backends.postgresql.transactions import Transactions
from poolmgr.backends.postgresql.wrapping import CursorMaking
from poolmgr.exceptions import PoolmgrError
from poolmgr.pools import registry
from poolmgr.pools.forks import attend, here
from poolmgr.pools.lane import on_console_lane
from poolmgr.pools.owners import Sharers
from poolmgr.secrets import hide
from poolmgr.targets.postgresql.managed import ManagedPool
from poolmgr.targets.postgresql.parameters import connection_parameters
from poolmgr.targets.postgresql.preparing import Preparation, present_preparation
from poolmgr.targets.postgresql.session import KEPT, SessionEntry

_IDLE = int(TransactionStatus.IDLE)
#: Nothing is left to hold on to: a broken connection goes back too, so that the next statement gets another. Not after a
#: BEGIN: who ignores the error must not go on outside of the transaction.
_BROKEN = int(TransactionStatus.UNKNOWN)
#: A server-side cursor that nobody can use any more, and what a block of pinned() has hidden, are for the pool to clean.
FORGOTTEN = frozenset({HELD, PINNED})


class SparesOurs(DatabaseErrorWrapper):
    """Django's, which makes its own errors of the driver's. Ours are both already, and say more."""

    def __exit__(self, exc_type: Any, exc_value: Any, traceback: Any) -> None:
        if exc_type is not None and not issubclass(exc_type, PoolmgrError):
            super().__exit__(exc_type, exc_value, traceback)


class Pooled(PoolOfAlias, CursorMaking, ExplicitWays, Transactions, native.DatabaseWrapper):
    """Mixed into a PostgreSQL ``DatabaseWrapper``.

    Without a ``pool`` key in ``OPTIONS`` the pool has its default settings; ``"pool": False`` means no pool. The
    connection goes back when Django closes it (session mode) or as soon as nothing needs it (transaction and statement
    mode): no open cursor, not in ``atomic()``, autocommit on, no pin, and libpq says idle.
    """

    creation_class = DatabaseCreation

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        hide(self.settings_dict)
        self._managed: ManagedPool | None = None
        self._mode: str | None = None
        self._keeps = False  # in session mode: the connection stays until it is closed
        self._guest_of: Request | None = None  # the request of another thread, for which it was taken
        self._direct = False  # the present connection is none of the pool's
        self._unpooled = 0  # depth of unpooled()
        self._pinned = 0  # depth of pinned()
        self._busy = 0  # depth of sections that the garbage collector must not release the connection in
        self._greeting: Any = None  # the connection that Django's connect() is to find, in place of one of its own
        self._ensuring = False  # what somebody has put before Django's ensure_connection() is at work
        self._uses_prepared = False  # the present connection is one that this thread prepares for the pool
        self._returning = False  # the connection goes back because nothing needs it, not because somebody closed it
        self._makes_own_cursors = type(self)._cursor is not Pooled._cursor
        wrappers.add(self)

    @cached_property
    def isolation_level(self) -> IsolationLevel:
        """As Django's, which sets it at connect: here another wrapper may have done that."""
        return isolation_level(self) or IsolationLevel.READ_COMMITTED

    @cached_property
    def wrap_database_errors(self) -> DatabaseErrorWrapper:
        return SparesOurs(self)

    # -- checkout -----------------------------------------------------------------------------------------------------

    def ensure_connection(self) -> None:
        """As Django's, and through it where somebody has put something before it."""
        if Django.ensure_connection is not known.ensure_connection and not self._ensuring and is_guarded():
            # What was put there may call this method, found before it was: that goes on, and not round in a circle.
            self._ensuring = True
            try:
                super().ensure_connection()
            finally:
                self._ensuring = False
        elif self.connection is None:
            if self.in_atomic_block and self.closed_in_transaction:
                super().ensure_connection()
            try:
                self.connect()
            except BaseException:
                self.wrap_database_errors.__exit__(*sys.exc_info())
                raise

    def connect(self) -> None:
        """Take a connection from the pool, or open a direct one where there is no pool or the console lane needs it."""
        if _get_running_loop() is not None:
            _refuse_in_a_loop()
        if not here:
            attend()
        self._take()

    def _take(self) -> None:
        if (preparation := present_preparation()) is not None and preparation.target == self.alias:
            self.use_prepared(preparation)
            return
        managed = self._managed
        if self._unpooled:
            managed, conn = None, None  # nor is a pool made for who wants none
        elif on_console_lane():
            managed, conn = self._take_at_once()
        else:
            if managed is None or managed.retired:
                managed = self.managed_pool
            conn = None if managed is None else managed.checkout()
        if managed is None or conn is None:
            connect_directly(self, super().connect)
            if self._pinned:
                self._pin_taken(None)
            return
        if self.atomic_blocks or self.savepoint_ids:
            self.savepoint_ids, self.atomic_blocks = [], []
        self.in_atomic_block = self.needs_rollback = self.closed_in_transaction = self.errors_occurred = False
        self.run_on_commit = []
        self.health_check_done = True
        self.connection = conn
        self.autocommit = True
        self._direct = False
        if self._mode is None:
            self._mode = managed.spec.pool_mode
        entry = conn.entry
        entry.begun = False
        thread = get_ident()
        if thread != self._thread_ident or self._thread_sharing_count:  # type: ignore[attr-defined]
            managed.lend_on(conn, Sharers(self))
        request = latest_request()
        if request is None or request.thread == thread:
            self._guest_of = entry.guest_of = None
            self._keeps = self._mode == "session"
        else:
            # The end of the request closes nothing here, so that to keep it would be for as long as the thread lives.
            self._guest_of = entry.guest_of = request
            self._keeps = False
        if not self._keeps:
            # Until it is returned, which is when nothing needs it any more.
            entry.doing, entry.marked = KEPT, entry.since
        if entry.late:
            entry.late.clear()
        if self._pinned:
            self._pin_taken(entry)
        # Once for each physical connection, and again when somebody began to listen, or to watch connects, since.
        if entry.greeted != connection_created.receivers or (
            Django.connect is not known.connect and Django.connect is not entry.greeted_by and not is_own("connect")
        ):
            greet(self, conn, entry, super().connect)
        elif not self.settings_dict["AUTOCOMMIT"]:
            self._begin_without_autocommit()

    def _pin_taken(self, entry: SessionEntry | None) -> None:
        """In a block of pinned() that has begun without a connection."""
        try:
            self.expect_own_session()
        except BaseException:
            self.close()
            raise
        if entry is not None:
            entry.pins.add(PINNED)

    def _take_at_once(self) -> tuple[ManagedPool | None, Any]:
        """A console that only looks makes no pool of its own: what it looks at may be a server that is full."""
        there = registry.get(self.alias)
        managed = there if isinstance(there, ManagedPool) else None
        return managed, None if managed is None else managed.try_checkout()

    def use_prepared(self, preparation: Preparation) -> None:
        """Whatever prepares a new connection and asks for one gets that, as if there were no pool, until that is done."""
        preparation.users.append(self)
        self.connection = preparation.conn
        self.autocommit = bool(preparation.conn.autocommit)
        self.in_atomic_block = self.needs_rollback = self.closed_in_transaction = False
        self._direct = self._uses_prepared = True

    def meet(self, conn: Any) -> None:
        """In a thread of the pool's: have Django greet a connection that another, a task, has checked out."""
        self.connection, self.autocommit, self._keeps = conn, True, True
        try:
            greet(self, conn, conn.entry, super().connect)
            if not self.autocommit:  # as Django begins where AUTOCOMMIT is False
                self.commit()
                self.set_autocommit(True)
        finally:
            self.connection = None

    def _begin_without_autocommit(self) -> None:
        self._busy += 1
        try:
            self.set_autocommit(False)
        except BaseException:
            self.close()
            raise
        finally:
            self._busy -= 1

    @async_unsafe
    def get_new_connection(self, conn_params: dict[str, Any]) -> Any:
        hide(conn_params)  # Django's connect() has them too, for as long as its hooks run
        return super().get_new_connection(connection_parameters(conn_params, 10.0))

    def validate_thread_sharing(self) -> None:
        """As Django's, which takes a lock even where the thread is the right one."""
        if self._thread_ident != get_ident():  # type: ignore[attr-defined]
            super().validate_thread_sharing()

    def inc_thread_sharing(self) -> None:
        super().inc_thread_sharing()
        if self._managed is not None and self.connection is not None and not self._direct:
            self._managed.lend_on(self.connection, Sharers(self))

    # -- return -------------------------------------------------------------------------------------------------------

    def release_if_free(self) -> None:
        """In transaction and statement mode, give the connection back if nothing needs it."""
        conn = self.connection
        if (
            conn is None
            or self._keeps
            or self.in_atomic_block
            or not self.autocommit
            or self._busy
            or self._pinned
            or self._direct
            or self._returning
        ):
            return
        entry = conn.entry
        if entry.cursors > len(entry.late) or (entry.pins and not entry.pins <= FORGOTTEN):
            return
        status = conn.pgconn.transaction_status
        if status == _IDLE or (status == _BROKEN and not entry.begun):
            request = latest_request()
            if request is None or request.over or self._guest_of is not None:
                self._mode = None
            if (
                type(self).close is _CLOSE
                and "close" not in self.__dict__
                and (Django.close is known.close or is_own("close"))
            ):
                self._return(conn)
            else:
                self._close_when_free()

    def _close_when_free(self) -> None:
        """Close because nothing needs the connection: a subclass's ``close()`` must hear whenever one is taken away."""
        self._returning = True
        try:
            self.close()
        finally:
            self._returning = False

    def _return(self, conn: Any) -> None:
        self.connection = None
        if (pool := conn._pool) is not None:  # as it is when the pool took it back, as from a thread that has ended
            pool.on_put(conn)

    def close(self) -> None:
        """Give the connection back; a direct one is closed."""
        if not here:
            attend()
        conn = self.connection
        if (
            conn is None
            or self._direct
            or self.in_atomic_block
            or _get_running_loop() is not None
            or (Django.close is not known.close and not is_own("close"))
        ):
            super().close()
            return
        self.validate_thread_sharing()
        self.run_on_commit = []
        self._return(conn)
        if not self._returning:
            self._mode = None

    def _close(self) -> None:
        conn = self.connection
        if not self._returning:
            self._mode = None
        if conn is None:
            return
        if self._uses_prepared:
            self.connection, self._direct, self._uses_prepared = None, False, False
        elif getattr(conn, "entry", None) is None:
            with self.wrap_database_errors:
                conn.close()
            self.connection, self._direct = None, False
        else:
            with self.wrap_database_errors:
                self._return(conn)
            if not self._returning:
                self._mode = None

    def close_if_unusable_or_obsolete(self) -> None:
        """Django's call at both ends of a request: a pooled connection goes back.

        ``CONN_MAX_AGE`` is for connections without a pool. Beside a ``pool`` key Django refuses it, and only where it was
        set after the pool was made is it heeded, as Django does.
        """
        if self.in_atomic_block:
            return
        self._busy = 0  # which an exception out of a signal handler may have left
        never = self.settings_dict["CONN_MAX_AGE"] is None and "pool" in self.settings_dict["OPTIONS"]
        self._mode = self._mode if never else None
        pooled = self.connection is not None and not self._direct and not never
        own = Django.close_if_unusable_or_obsolete is known.close_if_unusable_or_obsolete or is_own(
            "close_if_unusable_or_obsolete"
        )
        if not pooled or not own:
            super().close_if_unusable_or_obsolete()
        if pooled and self.connection is not None:
            self.close()

    def close_if_health_check_failed(self) -> None:
        # The pool has looked at its connections itself.
        if self._direct:
            super().close_if_health_check_failed()

    def drop_inherited(self) -> None:
        """In a forked child: forget the parent's connection without a word to the server."""
        if self.connection is not None and self.in_atomic_block:
            self.closed_in_transaction = self.needs_rollback = True
        self._managed, self._mode, self._direct, self.connection = None, None, False, None
        # What another thread held is nobody's here, nor is the lock that it may have held.
        self._thread_sharing_lock = Lock()
        self._thread_sharing_count = 1
        try:
            self.close()  # for a subclass that remembers what it has set
        finally:
            self._thread_sharing_count = 0


_CLOSE = Pooled.close


@async_unsafe
def _refuse_in_a_loop() -> None:
    """Raises ``SynchronousOnlyOperation``, unless the site allows what it can't do without."""
