"""Which of a pool's connections are on their way out: each keeps its place until the server's process is gone.

The law of the lock in elastic.py holds here too.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from threading import Condition, RLock
from time import monotonic
from typing import Any
from weakref import WeakSet

from psycopg_pool import ConnectionPool
from psycopg_pool.pool import AddConnection

from poolmgr.targets.postgresql.connection import PooledConnection
from poolmgr.targets.postgresql.parting import Parting, closer, is_busy, is_cut_off

logger = logging.getLogger("poolmgr.pool")

#: The longest that a place waits for the server, in seconds. Less where borrowers have less patience: after a connection
#: that was silent they still want the one that follows it.
PATIENCE = 5.0
_PART_OF_TIMEOUT = 0.25


_UNSEEN = "pool %r: the server did not end its process %s within %.1f s of being asked to; its place is used again"


def see_off(parting: Parting) -> None:
    """Close the connection here and now where nothing is to be cancelled, which most often is all for one that is dead."""
    conn = parting.connection
    if is_busy(conn) or is_cut_off(conn) or not parting.step():
        closer().hand_over(parting)


class LeavingPool(ConnectionPool[PooledConnection]):
    """psycopg_pool's, but no two sessions of the server ever stand in one place."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, open=False, **kwargs)
        self._lock = RLock()
        #: Every open connection, also one that is neither idle nor checked out because a worker has it.
        self.living: WeakSet[PooledConnection] = WeakSet()
        self.leaving: set[Parting] = set()  # their places are counted
        self.passing: set[Parting] = set()  # their places are another's, who connects when they are gone
        self.left_behind = 0
        self.parted = Condition(self._lock)
        self.on_parted: Callable[[], object] | None = None
        #: Asked with the lock held: whether anybody has a connection still, for which a closed pool's threads stay.
        self.has_borrowers: Callable[[], bool] = lambda: False

    def _start_workers(self) -> None:
        closer().start()
        super()._start_workers()

    def _signal_stop_worker(self) -> list[Any]:
        return [] if self._closed and self.has_borrowers() else super()._signal_stop_worker()

    def stop_threads(self) -> None:
        """Those of a closed pool whose last borrower has gone."""
        with self._lock:
            if self._workers:
                super()._signal_stop_worker()

    def __del__(self) -> None:
        super().__del__()
        if getattr(self, "_workers", None):
            self.stop_threads()

    def _start_initial_tasks(self) -> None:
        # As many as there may be now: what psycopg_pool has counted when it was made may be more than a lease allows.
        self._nconns = self._min_size
        super()._start_initial_tasks()

    @property
    def present(self) -> int:
        """Places that are not about to come free. Called with the lock held."""
        return self._nconns - len(self.leaving)

    def give_up(self, conn: PooledConnection) -> None:
        """Part from a connection that nobody owns. Its place is free, for a waiter's fresh one, when it is gone."""
        with self._lock:
            parting = self.leave(conn)
        see_off(parting)

    def leave(self, conn: PooledConnection) -> Parting:
        """Note that ``conn`` is about to be parted from, for ``see_off()`` to do. Called with the lock held."""
        parting = self._parting(conn)
        self.leaving.add(parting)
        return parting

    def _close_connection(self, conn: PooledConnection) -> None:
        """Part from a connection whose place is another's by now, or nobody's as in a closed pool."""
        with self._lock:
            self.passing.add(parting := self._parting(conn))
        see_off(parting)

    def _parting(self, conn: PooledConnection) -> Parting:
        if hasattr(conn, "left"):
            conn.left()
        conn._pool = None
        self.living.discard(conn)
        return Parting(conn, min(PATIENCE, self.timeout * _PART_OF_TIMEOUT), self._over)

    def _over(self, parting: Parting) -> None:
        with self._lock:
            self.passing.discard(parting)
            if parting in self.leaving:
                self.leaving.discard(parting)
                self._nconns -= 1
            if not parting.gone:
                self.left_behind += 1
            self.parted.notify_all()
        if not parting.gone:
            # Of a connect that was given up the pool tells elsewhere, and at every try it is too much.
            level = logging.WARNING if parting.pid else logging.INFO
            logger.log(level, _UNSEEN, self.name, parting.named, parting.patience)
        self.fill()
        if self.on_parted is not None:
            self.on_parted()

    def fill(self) -> None:
        """Connect up to ``min_size`` in the background, and for those who wait while nobody is at it."""
        with self._lock:
            missing = 0
            if not self._closed:
                missing = max(0, min(self._min_size - self.present, self._max_size - self._nconns))
            self._nconns += missing
            if self._waiting:
                self._maybe_grow_pool()
        for _ in range(missing):
            self.run_task(AddConnection(self))

    def _await_passing(self) -> None:
        """Where there is no room for them beside their heirs, let those be gone whose places were passed on by now."""
        with self._lock:
            before = set(self.passing)
            while not self._closed and not before.isdisjoint(self.passing):
                if self._nconns + len(self.passing) <= self._max_size:
                    return
                self.parted.wait(PATIENCE)

    def close(self, timeout: float = 5.0) -> None:
        """psycopg_pool's; the sessions are gone when it returns, unless ``timeout`` came first."""
        deadline = monotonic() + timeout
        super().close(timeout)
        with self._lock:
            while (self.leaving or self.passing) and (left := deadline - monotonic()) > 0:
                self.parted.wait(left)
