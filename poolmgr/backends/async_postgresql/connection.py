"""What a task of Django's has in its hands: psycopg's connection for asyncio as Django wants it."""

from __future__ import annotations

from typing import Any
from weakref import ref

import psycopg
from django_async_backend.db.backends.base.base import BaseAsyncDatabaseWrapper
from django_async_backend.db.backends.utils import AsyncCursorWrapper

from poolmgr.backends.async_postgresql.apart import OwnConnection
from poolmgr.backends.async_postgresql.cursors import ServerBindingServerSideCursor, counted
from poolmgr.pools.aio.forgotten import is_suspended, users_of
from poolmgr.targets.postgresql.asyncio.connection import TaskConnection
from poolmgr.targets.postgresql.connection import PooledConnection
from poolmgr.targets.postgresql.managed import ManagedPool


class DjangoConnection(TaskConnection):
    """Its adapters are those of the pool's connection: what Django and its hooks have registered there counts here."""

    def __init__(self, lent: PooledConnection, managed: ManagedPool, wrapper: Any) -> None:
        super().__init__(lent, managed, wrapper.pool)
        self._wrapper = ref(wrapper)  # which has this one, and is gone at once when it is dropped
        self._template = lent.adapters
        self._cursor_class = counted(wrapper.cursor_factory)
        self._server_cursor_class = ServerBindingServerSideCursor
        self.is_kept_by = is_kept_by

    def begins(self) -> None:
        """Called before a statement that begins a transaction. Raises ``ModeError`` in statement mode."""
        if (wrapper := self._wrapper()) is not None:
            wrapper.expect_transactions("a statement that begins a transaction")
        self._entry.begun = True
        self._entry.transactions += 1

    @property
    def is_lost(self) -> bool:
        """Whether the pool took it back meanwhile."""
        return self._entry.epoch != self._epoch

    @property
    def is_at_work(self) -> bool:
        """Whether something of psycopg's is under way on it, between two statements too."""
        return bool(self._waits or self._num_transactions or self._pipeline or self._tpc or self.lock.locked())


#: What a wrapper gives back by ``part()``, without waiting; else it has the package's own.
POOLED_OR_OWN = (DjangoConnection, OwnConnection)


def is_kept_by(user: Any) -> bool:
    """Whether somebody may go on with what ``user``, which refers to a connection, is: once the task has ended that had it.

    A cursor may be in another's hands.
    """
    if isinstance(user, BaseAsyncDatabaseWrapper):
        return bool(user.may_be_used())
    if isinstance(user, psycopg.AsyncCursor):
        of = users_of(user)
        of += [each for wrapper in of if isinstance(wrapper, AsyncCursorWrapper) for each in users_of(wrapper)]
        return any(is_suspended(each) for each in of)
    return type(user).__module__ != "builtins"
