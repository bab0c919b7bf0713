"""AsyncPool: the pool of a PostgreSQL target for the tasks of event loops."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import psycopg
from psycopg.adapt import AdaptersMap

from poolmgr.pools.forks import attend, here
from poolmgr.pools.spec import PoolSpec
from poolmgr.targets.postgresql.asyncio import lending
from poolmgr.targets.postgresql.asyncio.connection import TaskConnection
from poolmgr.targets.postgresql.managed import ManagedPool


class AsyncPool:
    """What threads and the tasks of all event loops of this process share. ``find`` gives the pool of the present process.

    ``adapters`` are those of its connections, with which types may be registered; a pool is a context of psycopg's.
    ``getconn()`` and ``putconn()`` are psycopg_pool's words for ``checkout()`` and ``give_back()``.
    """

    #: psycopg's word for a pool to which ``close()`` gives a connection back. Ours closes.
    close_returns = False

    def __init__(self, find: Callable[[], ManagedPool]) -> None:
        self._find = find
        self._managed: ManagedPool | None = None
        self.adapters = AdaptersMap(psycopg.adapters)

    def __repr__(self) -> str:
        return f"<asyncio on {self.managed!r}>"

    @property
    def managed(self) -> ManagedPool:
        """The pool behind it. Raises ``ConfigurationError`` where the process has none."""
        if not here:
            attend()
        found = self._managed
        if found is None or found.retired:
            found = self._managed = self._find()
        return found

    @property
    def spec(self) -> PoolSpec:
        """The settings in force."""
        return self.managed.spec

    async def checkout(self, timeout: float | None = None) -> TaskConnection:
        """A live ``psycopg.AsyncConnection`` in autocommit mode.

        ``timeout`` in seconds, by default the profile's ``connection_timeout``. Raises a ``CheckoutError`` that says
        why none could be had.
        """
        managed = self.managed
        return TaskConnection(await lending.checkout(managed, timeout), managed, self)

    def at_once(self) -> TaskConnection | None:
        """As ``checkout()``, if one is idle that needs no question to its server, otherwise None; to be called in a task."""
        managed = self.managed
        lent = lending.at_once(managed)
        return None if lent is None else TaskConnection(lent, managed, self)

    def give_back(self, conn: TaskConnection) -> None:
        """Take a connection back, in whatever state, without waiting; in the event loop that has used it. Idempotent.

        Raises ``ValueError`` for what is not of this pool, as psycopg's does.
        """
        if not here:
            attend()
        if getattr(conn, "lender", None) is not self:
            raise ValueError(f"can't return {conn!r} to {self!r}, from which it does not come")
        conn.part()

    def connection(self, timeout: float | None = None) -> Block:
        """``async with pool.connection() as conn``: a connection for the length of the block."""
        return Block(self, timeout)

    async def getconn(self, timeout: float | None = None) -> TaskConnection:
        return await self.checkout(timeout)

    async def putconn(self, conn: TaskConnection) -> None:
        self.give_back(conn)


class Block:
    """One checkout."""

    __slots__ = ("_conn", "_pool", "_timeout")

    def __init__(self, pool: AsyncPool, timeout: float | None) -> None:
        self._pool = pool
        self._timeout = timeout

    async def __aenter__(self) -> TaskConnection:
        self._conn = conn = await self._pool.checkout(self._timeout)
        return conn

    async def __aexit__(self, *exc: Any) -> None:
        self._pool.give_back(self._conn)
