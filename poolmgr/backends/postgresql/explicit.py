"""Explicit ways into a connection and out of it: ``pinned()``, ``released()``, ``unpooled()``."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import psycopg
from django.db.backends.postgresql import base as native
from psycopg.pq import TransactionStatus

from poolmgr.backends.postgresql.cursors import HELD
from poolmgr.exceptions import ModeError, ReleaseError
from poolmgr.pools.forks import attend, here
from poolmgr.secrets import disarm
from poolmgr.targets.postgresql.managed import ManagedPool
from poolmgr.targets.postgresql.opening import connect_soon
from poolmgr.targets.postgresql.parameters import connection_parameters
from poolmgr.targets.postgresql.pooler import is_shared
from poolmgr.targets.postgresql.session import SessionEntry

PINNED, RELEASED, UNPOOLED = "pinned()", "released()", "unpooled()"
#: The pin of what the site's own subclass sets for each cursor, such as a tenant's schema: it can set it again.
OWN = "set by the database wrapper"
HIDDEN = frozenset({PINNED, OWN, HELD})
SHARED = (
    "pinned() is refused on database {!r}: the pooler before its server gives the server connection to others between two"
    " statements; use atomic(), or have the pooler pool by session"
)
UNKNOWN = (
    "pinned() is refused on database {!r}: whether the pooler before its server gives the server connection to others"
    " between two statements could not be told"
)
CHANGED = (
    "pinned() was not kept on database {!r}: in the middle of the block the pooler before its server began to give the server"
    " connection to others between two statements; what the block has set may be theirs by now"
)
#: No transaction is open: a connection that broke has none either.
_FREE = (TransactionStatus.IDLE, TransactionStatus.UNKNOWN)


def expect_releasable(wrapper: Any, entry: SessionEntry | None, what: str) -> None:
    """Raises ``ReleaseError`` where ``wrapper``, of a thread or a task, can't give back what it has; ``entry`` is of that."""
    if wrapper.in_atomic_block:
        raise ReleaseError(
            f"{what} is refused inside atomic() on database {wrapper.alias!r}: the transaction needs its connection"
        )
    if wrapper.connection is not None and (reason := why_not_release(wrapper, entry)):
        raise ReleaseError(f"{what} is refused on database {wrapper.alias!r}: {reason}")


def why_not_release(wrapper: Any, entry: SessionEntry | None, ignore_pins: bool = False) -> str:
    """What needs the connection of ``wrapper``, or an empty string."""
    if wrapper.in_atomic_block or not wrapper.autocommit or wrapper.connection.pgconn.transaction_status not in _FREE:
        return "a transaction is open"
    if entry is None:
        # A direct one, whose session state is nobody else's.
        return ""
    if entry.cursors > len(entry.late):
        return "a cursor is open; close it first"
    lost = entry.pins - {OWN, PINNED}  # what a block of pinned() hid ended with the block
    if not ignore_pins and (lost or wrapper._pinned):
        return f"its session state would be lost ({', '.join(sorted(lost)) or PINNED})"
    return ""


class ExplicitWays(native.DatabaseWrapper):
    """The part of ``Pooled`` that ``poolmgr.api`` calls."""

    _keeps: bool
    _direct: bool
    _unpooled: int
    _pinned: int
    _managed: ManagedPool | None
    _uses_prepared: bool

    @contextmanager
    def pinned(self) -> Iterator[None]:
        """Keep one connection for the block, for session state that can't be seen; it is cleaned when it goes back.

        That is at the end of the block, unless something that can be seen needs it longer, such as a ``SET`` of the block's.
        Raises ``ModeError`` behind a pooler that hands server connections on between statements: here where that is known,
        else at the first query of the block, and at its end where the pooler has begun to do so meanwhile.
        """
        if not here:
            attend()
        if not self._pinned:
            self.expect_own_session()
        if entry := getattr(self.connection, "entry", None):
            entry.pins.add(PINNED)
        self._pinned += 1
        try:
            yield
            if self._pinned == 1:
                self._expect_kept()
        finally:
            self._pinned -= 1
            if not self._pinned:
                self._unpin()

    def expect_own_session(self) -> None:
        """Raise ``ModeError`` where a pooler gives the server connection to others between two statements.

        Without a connection, and where none has met a pooler yet, nothing is said: whoever takes one asks again.
        """
        managed = self._managed
        if self.connection is None and managed is not None and managed.pool.behind_pooler:
            self.ensure_connection()
        try:
            shared = self._is_shared()
        except psycopg.Error as ex:
            raise ModeError(UNKNOWN.format(self.alias)) from disarm(ex)
        if shared:
            raise ModeError(SHARED.format(self.alias))

    def _expect_kept(self) -> None:
        """Raise ``ModeError`` where a pooler has begun to do so in the middle of a block, as far as that can be told."""
        # One transaction, which lasts longer than the block, has one server connection.
        if not self.in_atomic_block:
            with suppress(psycopg.Error):
                if self._is_shared():
                    raise ModeError(CHANGED.format(self.alias))

    def _is_shared(self) -> bool:
        """Raises ``psycopg.Error`` where that can't be told, after which another connection is taken."""
        if (conn := self.connection) is None:
            return False
        entry: SessionEntry | None = getattr(conn, "entry", None)
        if not entry.behind_pooler if entry else self._uses_prepared:
            return False
        managed = self._managed
        connect = managed.pool.connect_apart if managed is not None and entry else self._connect_apart
        try:
            return is_shared(conn, connect)
        except psycopg.Error:
            # What was asked may be answered yet, to the next borrower.
            if self.connection is not None and not self.in_atomic_block:
                self.close()
            raise

    def _connect_apart(self) -> Any:
        return connect_soon(**connection_parameters(self.get_connection_params(), 1.0))

    def _unpin(self) -> None:
        entry: SessionEntry | None = getattr(self.connection, "entry", None)
        if entry is None or self._keeps or not entry.pins <= HIDDEN or why_not_release(self, entry, ignore_pins=True):
            return
        self.close()

    @contextmanager
    def released(self) -> Iterator[None]:
        """Hold no connection for the block, such as around a slow call; the next query takes one again.

        Raises ``ReleaseError`` inside ``atomic()``, or when an open cursor or session state needs the connection. Inside
        ``unpooled()`` there is nothing to give back.
        """
        if not self._unpooled:
            self._let_go(RELEASED)
        yield

    @contextmanager
    def unpooled(self) -> Iterator[None]:
        """A connection of one's own for the block, outside the pool and its limits. Raises as ``released()``."""
        if not self._unpooled:
            self._let_go(UNPOOLED)
        self._unpooled += 1
        try:
            yield
        finally:
            self._unpooled -= 1
            if not self._unpooled:
                self.close()

    def _let_go(self, what: str) -> None:
        if not here:
            attend()
        self.validate_thread_sharing()
        expect_releasable(self, getattr(self.connection, "entry", None), what)
        if self.connection is not None:
            self.close()
