"""``pinned()``, ``released()`` and ``unpooled()`` of a task's connection."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import psycopg

from poolmgr.backends.async_postgresql.apart import OwnConnection
from poolmgr.backends.async_postgresql.connection import DjangoConnection
from poolmgr.backends.async_postgresql.owners import OwnedByTask
from poolmgr.backends.postgresql.explicit import (
    CHANGED,
    HIDDEN,
    PINNED,
    RELEASED,
    SHARED,
    UNKNOWN,
    UNPOOLED,
    expect_releasable,
    why_not_release,
)
from poolmgr.exceptions import ModeError
from poolmgr.secrets import disarm
from poolmgr.targets.postgresql.pooler import is_shared


class ExplicitWays(OwnedByTask):
    """The part of ``AsyncDatabaseWrapper`` that ``poolmgr.api`` calls. Each is as that of a thread's connection."""

    _keeps: bool
    _pinned: int
    _unpooled: int

    @asynccontextmanager
    async def pinned(self) -> AsyncIterator[None]:
        """Keep one connection for the block."""
        self._expect_own()
        if not self._pinned:
            await self._pin_taken()
        self._pinned += 1
        try:
            yield
            if self._pinned == 1:
                await self._expect_kept()
        finally:
            self._pinned -= 1
            if not self._pinned:
                self._unpin()

    @asynccontextmanager
    async def released(self) -> AsyncIterator[None]:
        """Hold no connection for the block."""
        if not self._unpooled:
            await self._let_go(RELEASED)
        yield

    @asynccontextmanager
    async def unpooled(self) -> AsyncIterator[None]:
        """A connection of one's own for the block, which meets Django in a thread as every other does."""
        if not self._unpooled:
            await self._let_go(UNPOOLED)
        self._unpooled += 1
        try:
            yield
        finally:
            self._unpooled -= 1
            if not self._unpooled:
                self._give_up()

    def _expect_own(self) -> None:
        self.validate_thread_sharing()
        self.validate_task_sharing()

    async def _let_go(self, what: str) -> None:
        self._expect_own()
        conn = self.connection
        expect_releasable(self, conn._entry if isinstance(conn, DjangoConnection) else None, what)
        await self.close()

    def _unpin(self) -> None:
        conn = self.connection
        if not isinstance(conn, DjangoConnection) or self._keeps or not conn._entry.pins <= HIDDEN:
            return
        if not (conn.is_at_work or why_not_release(self, conn._entry, ignore_pins=True)):
            self._give_up()

    def _thread_half(self) -> Any:
        """A connection of the half for threads, for the thread that makes it."""
        return self._threads_wrapper({**self.settings_dict}, self.alias)

    async def _pin_taken(self) -> None:
        """In a block of pinned() that has begun without a connection."""
        await self._expect_own_session()
        if isinstance(conn := self.connection, DjangoConnection):
            conn.pin({PINNED})

    async def _expect_own_session(self) -> None:
        """Raise ``ModeError`` where a pooler gives the server connection to others between two statements.

        Without a connection, and where none has met a pooler yet, nothing is said: whoever takes one asks again.
        """
        managed = self._managed
        if self.connection is None and managed is not None and managed.pool.behind_pooler:
            await self.ensure_connection()
        try:
            shared = await self._is_shared()
        except psycopg.Error as ex:
            raise ModeError(UNKNOWN.format(self.alias)) from disarm(ex)
        if shared:
            raise ModeError(SHARED.format(self.alias))

    async def _expect_kept(self) -> None:
        """Raise ``ModeError`` where a pooler has begun to do so in the middle of a block, as far as that can be told."""
        # One transaction, which lasts longer than the block, has one server connection.
        if not self.in_atomic_block:
            with suppress(psycopg.Error):
                if await self._is_shared():
                    raise ModeError(CHANGED.format(self.alias))

    async def _is_shared(self) -> bool:
        """Raises ``psycopg.Error`` where that can't be told, after which another connection is taken."""
        conn = self.connection
        if isinstance(conn, DjangoConnection) and conn._entry.behind_pooler:
            return await self._ask_whether_shared(conn._lent, conn._managed.pool.connect_apart)
        if isinstance(conn, OwnConnection):
            return await self._ask_whether_shared(conn, lambda: self._thread_half()._connect_apart())
        return False

    async def _ask_whether_shared(self, session: Any, connect: Callable[[], Any]) -> bool:
        asks = asyncio.get_running_loop().run_in_executor(None, is_shared, session, connect)
        self._busy += 1
        try:
            return await asyncio.shield(asks)
        except psycopg.Error:
            # What was asked may be answered yet, to the next borrower.
            if not self.in_atomic_block:
                self._give_up()
            raise
        except BaseException:
            # Nobody can stop the thread: until it is done the connection is no one else's.
            conn, self.connection = self.connection, None
            if self.in_atomic_block:
                self.closed_in_transaction = self.needs_rollback = True
            asks.add_done_callback(lambda asked: conn.part())
            raise
        finally:
            self._busy -= 1
