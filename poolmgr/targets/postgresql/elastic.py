"""psycopg_pool's ConnectionPool with what an operator needs, here sizes that change now; its neighbours have the rest.

Private names of psycopg_pool 3.3 used here, in managed.py and in their neighbours (requirements pin the range): ``_lock
_pool _waiting _nconns _nconns_min _min_size _max_size _closed _stats _sched _reset _open _open_implicit _pool_full_event
_REQUESTS_ERRORS _REQUESTS_QUEUED _REQUESTS_WAIT_MS _REQUESTS_NUM _CONNECTIONS_LOST _check_open_getconn _check_size
_get_ready_connection _getconn_unchecked _maybe_grow_pool _add_to_pool _connect _return_connection _close_connection
_resolve_conninfo _resolve_kwargs _jitter``, of ``psycopg_pool.pool`` the classes ``AddConnection``, ``MaintenanceTask``
and ``WaitingClient``, of ``psycopg_pool.sched`` the ``Scheduler`` with its ``Task``, and on connections ``_pool
_created_at _expire_at``. Of psycopg, in connection.py and managed.py: ``_autocommit _prepared _notice_handlers
_notify_handlers _notifies_backlog _num_transactions _tpc _pipeline``.

The law of the lock: every attribute named above, and ``paused``, ``generation``, ``connecting``, ``resting``,
``last_error`` and ``last_error_at`` are read for decisions and written only with ``_lock`` held; nothing that may block
on a socket or another lock than a waiter's runs under it. It is re-entrant because the garbage collector may close an
abandoned cursor, and so return its connection, in the middle of a section that this same thread holds.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from time import monotonic
from typing import Any

from psycopg import Error
from psycopg_pool.pool import AddConnection

from poolmgr.pools.diagnosis import diagnose
from poolmgr.targets.postgresql.connection import PooledConnection, pooled
from poolmgr.targets.postgresql.leaving import see_off
from poolmgr.targets.postgresql.liveness import PATIENCE, ask
from poolmgr.targets.postgresql.parting import Parting
from poolmgr.targets.postgresql.queueing import QueueingPool

logger = logging.getLogger("poolmgr.pool")


class ElasticPool(QueueingPool):
    """``on_connect`` is told the seconds of each connect, or the error."""

    def __init__(
        self, *args: Any, on_connect: Callable[[float, Exception | None], None] | None = None, **kwargs: Any
    ) -> None:
        opened = kwargs.pop("open", None)
        kwargs["connection_class"] = pooled(kwargs.get("connection_class", PooledConnection))
        super().__init__(*args, on_connect=on_connect, **kwargs)
        self.on_get: Callable[[float | None], PooledConnection] | None = None
        self.on_return: Callable[[PooledConnection], None] | None = None
        self._open_implicit = opened is None
        if opened is not False:
            self._open()

    def set_sizes(self, min_size: int, max_size: int) -> list[Parting]:
        """Called with the lock held; what it returns is for ``see_off()`` when it isn't any more.

        ``max_size`` may be 0, as of a pool without a lease.
        """
        self._min_size, self._max_size = min_size, max_size
        while self.present > max_size and self.resting:
            # A failed connect that waits for its next try would open what there is no more room for.
            self._nconns -= 1
            if self.resting.pop().task.growing:
                self._growing = False
        surplus = []
        while self.present > max_size and self._pool:
            surplus.append(self.leave(self._pool.popleft()))
        return surplus

    def see_off(self, surplus: Iterable[Parting]) -> None:
        """Close what has no room any more, and fill what there is."""
        for parting in surplus:
            see_off(parting)
        self.fill()

    def take_idle(
        self,
        wanted: Callable[[PooledConnection], bool],
        most: int | None = None,
        first: Callable[[PooledConnection], float] | None = None,
    ) -> list[PooledConnection]:
        """Take idle connections that are ``wanted``, longest idle or least by ``first`` first; their places stay counted."""
        with self._lock:
            found = [conn for conn in self._pool if wanted(conn)]
            taken = (sorted(found, key=first) if first else found)[:most]
            for conn in taken:
                self._pool.remove(conn)
            self._nconns_min = min(self._nconns_min, len(self._pool))
        return taken

    # -- psycopg_pool's own calls, as code written for it makes them --------------------------------------------------

    def getconn(self, timeout: float | None = None) -> PooledConnection:
        """Take a connection, from the managed pool where this one is under it."""
        return super().getconn(timeout) if self.on_get is None else self.on_get(timeout)

    def putconn(self, conn: PooledConnection) -> None:
        """Return a connection to where it came from."""
        if self.on_return is not None and getattr(conn, "_pool", None) is self:
            self.on_return(conn)
        else:
            super().putconn(conn)

    def resize(self, min_size: int, max_size: int | None = None) -> None:
        """Change the sizes now: more room serves those who wait already, less closes idle connections at once."""
        min_size, max_size = self._check_size(min_size, max_size)
        with self._lock:
            surplus = self.set_sizes(min_size, max_size)
        self.see_off(surplus)

    def check(self) -> None:
        """Ask every idle connection, one after the other, and replace those that don't answer."""
        for conn in self.take_idle(lambda conn: True):
            if conn._expire_at > monotonic() and self._answers(conn):
                self._add_to_pool(conn)
            else:
                self._close_connection(conn)
                self.run_task(AddConnection(self))
        with self._lock:
            self._maybe_grow_pool()

    def _answers(self, conn: PooledConnection) -> bool:
        try:
            ask(conn, "SELECT 1", monotonic() + PATIENCE)
        except Error as ex:
            logger.warning("pool %r: check() replaces a broken connection: %s", self.name, diagnose(ex).sentence)
            with self._lock:
                self._stats[self._CONNECTIONS_LOST] += 1
            return False
        return True

    def drain(self) -> None:
        """Replace every connection, those in use as they return."""
        with self._lock:
            self.generation += 1
        super().drain()
