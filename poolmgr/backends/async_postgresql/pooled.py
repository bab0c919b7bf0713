"""When a task's Django connection takes a pooled connection, and when it gives it back."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from functools import partial
from typing import Any
from weakref import WeakSet, ref

from django.db.backends.postgresql.psycopg_any import register_tzloader
from django.utils.functional import cached_property
from django_async_backend.db.backends.base.base import RAN_DB_VERSION_CHECK
from django_async_backend.db.backends.postgresql import async_base as theirs
from django_async_backend.db.utils import DatabaseErrorWrapper
from psycopg.pq import Format, TransactionStatus

from poolmgr.backends.async_postgresql.apart import OwnConnection, open_apart
from poolmgr.backends.async_postgresql.connection import POOLED_OR_OWN, DjangoConnection
from poolmgr.backends.async_postgresql.cursors import ServerSideCursor
from poolmgr.backends.async_postgresql.explicit import ExplicitWays
from poolmgr.backends.async_postgresql.greeting import greet, is_to_be_greeted
from poolmgr.backends.async_postgresql.requests import work_for_request
from poolmgr.backends.postgresql.lifecycle import latest_request
from poolmgr.backends.postgresql.pooled import FORGOTTEN, SparesOurs
from poolmgr.pools.forks import on_fork
from poolmgr.pools.inherited import let_go
from poolmgr.secrets import hide
from poolmgr.targets.postgresql.asyncio import lending
from poolmgr.targets.postgresql.managed import ManagedPool
from poolmgr.targets.postgresql.parameters import connection_parameters
from poolmgr.targets.postgresql.session import KEPT, SessionEntry

#: Every wrapper of this process.
_wrappers: WeakSet[AsyncDatabaseWrapper] = WeakSet()


class _ErrorWrapper(SparesOurs, DatabaseErrorWrapper):  # type: ignore[misc]
    """The package's, which spares ours."""


class AsyncDatabaseWrapper(ExplicitWays):
    """The package's, whose connections come from the pool that threads use.

    The connection goes back when it is closed (session mode) or as soon as nothing needs it (transaction and statement
    mode): no open cursor, not in ``async_atomic()``, autocommit on, no pin, and libpq says idle. A return awaits nothing.
    """

    savepoint_ids: list[str | None]
    run_on_commit: list[Any]

    def __init__(self, settings_dict: dict[str, Any], *args: Any, **kwargs: Any) -> None:
        super().__init__(settings_dict, *args, **kwargs)
        hide(settings_dict)
        self._mode: str | None = None
        self._keeps = False  # in session mode: the connection stays until it is closed
        self._unpooled = 0  # depth of unpooled()
        self._pinned = 0  # depth of pinned()
        self._busy = 0  # depth of sections that nobody's end may release the connection in
        self._loop: asyncio.AbstractEventLoop | None = None
        self._request: ref[Any] | None = None  # asgiref's mark of the request that the connection was taken for
        _wrappers.add(self)

    @cached_property
    def wrap_database_errors(self) -> DatabaseErrorWrapper:
        return _ErrorWrapper(self)

    # -- checkout -----------------------------------------------------------------------------------------------------

    async def connect(self) -> None:
        """Take a connection from the pool, or open a direct one where there is none or ``unpooled()`` asks for it."""
        self._loop = asyncio.get_running_loop()
        self._request = work_for_request(self, self._request)
        if self._unpooled:
            await self._connect_apart()
            return
        if (managed := self.managed_pool) is None:
            await super().connect()
            return
        lent = await lending.checkout(managed, None)
        if is_to_be_greeted(lent):
            await greet(managed, lent, partial(self._threads_wrapper, {**self.settings_dict}, self.alias))
        # Nothing is awaited between here and the end of a checkout that has nothing to do.
        self._take(DjangoConnection(lent, managed, self), managed)
        try:
            if self._pinned:
                await self._pin_taken()
            if not self.settings_dict["AUTOCOMMIT"]:
                await self.set_autocommit(False)
            if self.alias not in RAN_DB_VERSION_CHECK:
                self._pg_version = lent.info.server_version
                await self.check_database_version_supported()
                RAN_DB_VERSION_CHECK.add(self.alias)
        except BaseException:
            self._return()
            raise

    async def _connect_apart(self) -> None:
        own = await open_apart(self._thread_half, self.cursor_factory)
        self._begin(own, autocommit=own.autocommit)
        if self._pinned:
            try:
                await self._pin_taken()
            except BaseException:
                self._return()
                raise

    def _begin(self, conn: DjangoConnection | OwnConnection, *, autocommit: bool) -> None:
        self.in_atomic_block = self.needs_rollback = self.closed_in_transaction = self.errors_occurred = False
        self.savepoint_ids, self.run_on_commit = [], []
        if self.atomic_blocks:
            self.atomic_blocks = []
        self.health_check_done, self.close_at = True, None
        self.connection, self.autocommit = conn, autocommit

    def _take(self, conn: DjangoConnection, managed: ManagedPool) -> None:
        self._begin(conn, autocommit=True)
        if self._mode is None:
            self._mode = managed.spec.pool_mode
        self._keeps = self._mode == "session"
        entry = conn._entry
        entry.begun = False
        entry.late.clear()
        if not self._keeps:
            # Until it is returned, which is when nothing needs it any more.
            entry.doing, entry.marked = KEPT, entry.since

    async def get_new_connection(self, conn_params: dict[str, Any]) -> Any:
        hide(conn_params)
        return await super().get_new_connection(connection_parameters(conn_params, 10.0))

    async def _cursor(self, name: str | None = None) -> Any:
        # Before a connection is taken that another task could not use.
        self.validate_thread_sharing()
        self.validate_task_sharing()
        self._busy += 1
        try:
            made = await super()._cursor(name)
        except BaseException:
            self._busy -= 1
            self.release_if_free()
            raise
        self._busy -= 1
        return made

    def create_cursor(self, name: str | None = None) -> Any:
        conn = self.connection
        if not isinstance(conn, DjangoConnection):
            return super().create_cursor(name)
        if name and self.settings_dict["OPTIONS"].get("server_side_binding") is not True:
            cursor: Any = ServerSideCursor(conn, name=name, scrollable=False, withhold=conn.autocommit)
        elif name:
            cursor = conn.cursor(name, scrollable=False, withhold=conn.autocommit)
        else:
            cursor = conn.cursor()
        if conn.adapters.get_loader(theirs.TIMESTAMPTZ_OID, Format.TEXT).timezone != self.timezone:
            register_tzloader(self.timezone, cursor)
        cursor.attach(self, conn._entry)
        return cursor

    # -- return -------------------------------------------------------------------------------------------------------

    def cursor_closed(self, entry: SessionEntry, epoch: int) -> None:
        """Called by a cursor that was counted."""
        if entry.epoch == epoch:
            entry.cursors -= 1
            if self._keeps and isinstance(self.connection, DjangoConnection):
                self.connection.mark_at_rest()
            self.release_if_free()

    def cursor_forgotten(self, entry: SessionEntry, epoch: int) -> None:
        """Called by one that is collected, in whatever thread and wherever somebody is."""
        if entry.epoch != epoch:
            return
        entry.late.append(None)
        if not self._keeps and self._loop is not None:
            with suppress(RuntimeError):  # it is closed
                self._loop.call_soon_threadsafe(self.release_if_free)

    def release_if_free(self) -> None:
        """In transaction and statement mode, give the connection back if nothing needs it."""
        conn = self.connection
        if not isinstance(conn, DjangoConnection) or self._keeps or self.in_atomic_block or self._busy or self._pinned:
            return
        if conn.is_lost:
            self._return()
            return
        entry = conn._entry
        if not self.autocommit or conn.is_at_work or entry.cursors > len(entry.late) or not entry.pins <= FORGOTTEN:
            return
        status = conn.pgconn.transaction_status
        # Nothing is left to hold on to of one that broke, unless who ignores that would go on outside of a transaction.
        if status == TransactionStatus.IDLE or (status == TransactionStatus.UNKNOWN and not entry.begun):
            request = latest_request()
            if request is None or request.over:
                self._mode = None
            self._return()

    def _return(self) -> None:
        conn, self.connection = self.connection, None
        if isinstance(conn, POOLED_OR_OWN):
            self.autocommit = True
            conn.part()

    async def _close(self) -> None:
        self._mode = None
        if isinstance(self.connection, POOLED_OR_OWN):
            self._return()
        else:
            await super()._close()

    def drop_inherited(self) -> None:
        """In a forked child: forget the parent's connection without a word to the server."""
        conn, self.connection = self.connection, None
        if conn is not None and self.in_atomic_block:
            self.closed_in_transaction = self.needs_rollback = True
        if conn is not None and not isinstance(conn, DjangoConnection):
            # A direct one, of which no pool knows.
            let_go(conn, conn.fileno, None)
            conn.pgconn.finish()
        self._managed, self._mode, self._loop = None, None, None


def _after_fork() -> None:
    for wrapper in list(_wrappers):
        wrapper.drop_inherited()


on_fork(_after_fork)
