"""Who waits for a connection, and who is served next: the one used last, to whoever came first, unless all is paused.

The law of the lock in elastic.py holds here too.
"""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic
from typing import Any

from psycopg_pool import PoolTimeout, TooManyRequests

from poolmgr.targets.postgresql.connecting import ConnectingPool
from poolmgr.targets.postgresql.connection import PooledConnection
from poolmgr.targets.postgresql.leaving import see_off
from poolmgr.targets.postgresql.waiting import Place


class QueueingPool(ConnectingPool):
    """``on_lend`` is told at whose place a connection is given, with the lock held; ``on_put`` takes back for its owner."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.paused = False
        self.on_put: Callable[[PooledConnection], None] | None = None
        self.on_lend: Callable[[PooledConnection, Place], None] | None = None

    def wait_for(self, timeout: float, place: Place) -> PooledConnection:
        """psycopg_pool's ``getconn()`` without its check, which has no deadline and sleeps after the second failure.

        ``on_lend`` is told of their place by whoever serves them, under the lock that they hold already: else each who has
        waited would at once stand in line for that lock, with a connection in their hands.
        """
        self.begin_request()
        return self._getconn_unchecked(timeout, place)

    def begin_request(self) -> None:
        """Raises ``PoolClosed``."""
        self._stats[self._REQUESTS_NUM] += 1
        self._check_open_getconn()

    def _getconn_unchecked(self, timeout: float, place: Place | None = None) -> PooledConnection:
        """psycopg_pool's, but whoever stops waiting, for whatever reason, leaves the queue and takes nothing along.

        Left in the queue, those who timed out would count as waiting, and a killed greenlet would be given a connection.
        """
        place, waits = place or Place(None), False
        began = monotonic()
        try:
            conn = self.take_or_queue(place, timeout)
            if waits := conn is None:
                conn = place.wait(timeout)
        except PoolTimeout:
            if not waits or self.leave_queue(place):
                self._stats[self._REQUESTS_ERRORS] += 1
                raise
            conn = place.settled()
        except BaseException:
            # Also one who was interrupted before they knew that they wait.
            self._stats[self._REQUESTS_ERRORS] += waits
            if not self.leave_queue(place) and place.conn is not None:
                (self.on_put or self._add_to_pool)(place.conn)
            raise
        finally:
            if waits:
                self._stats[self._REQUESTS_WAIT_MS] += int(1000.0 * (monotonic() - began))
        assert conn is not None
        conn._pool = self
        return conn

    def take_or_queue(self, place: Place, timeout: float) -> PooledConnection | None:
        """An idle connection if there is one, else None, and ``place``, at which its owner waits, is in the queue.

        Raises ``PoolTimeout`` and ``TooManyRequests`` where nothing is to be waited for.
        """
        with self._lock:
            conn = self._get_ready_connection(timeout)
            if conn is None:
                self._waiting.append(place)
                self._stats[self._REQUESTS_QUEUED] += 1
                self._maybe_grow_pool()
            elif self.on_lend is not None:
                conn.entry.begin(monotonic())
                self.on_lend(conn, place)
        return conn

    def leave_queue(self, place: Place) -> bool:
        """Give up a place in the queue; False when somebody has taken it out, to serve or to fail it."""
        with self._lock:
            if place not in self._waiting:
                return False
            self._waiting.remove(place)
            return True

    def _get_ready_connection(self, timeout: float | None) -> PooledConnection | None:
        if timeout is not None and timeout <= 0.0:
            raise PoolTimeout()
        if self._pool and not self.paused:
            # The one used last: the others get to look idle, so that light traffic lets the pool shrink.
            conn = self._pool.pop()
            if len(self._pool) < self._nconns_min:
                self._nconns_min = len(self._pool)
            return conn
        if self.max_waiting and len(self._waiting) >= self.max_waiting:
            self._stats[self._REQUESTS_ERRORS] += 1
            raise TooManyRequests(f"the pool {self.name!r} has already {len(self._waiting)} requests waiting")
        return None

    def _maybe_grow_pool(self) -> None:
        if self.paused or self._closed:
            return
        if self.resting and not self.connecting:
            self._call_forward()
        super()._maybe_grow_pool()

    def _add_to_pool(self, conn: PooledConnection) -> None:
        conn._pool = None
        with self._lock:
            if not self._closed and self.present <= self._max_size:
                self.hand_on(conn)
                return
            parting = self.leave(conn)
        see_off(parting)

    def hand_on(self, conn: PooledConnection, now: float | None = None) -> None:
        """Give ``conn`` to the first that waits, or keep it as idle since ``now``. Called with the lock held."""
        if not self.paused:
            while self._waiting:
                place: Any = self._waiting.popleft()
                if self.on_lend is not None:
                    conn.entry.begin(monotonic())  # before its borrower is woken, who asks for no lock
                if place.set(conn):
                    if self.on_lend is not None:
                        self.on_lend(conn, place)
                    return
        entry = getattr(conn, "entry", None)
        if entry is not None:
            entry.idle_since = now or monotonic()
        self._pool.append(conn)
        if self._pool_full_event and len(self._pool) >= self._min_size:
            self._pool_full_event.set()

    def pause(self) -> None:
        """Stop checkouts: whoever asks waits, up to their own timeout."""
        with self._lock:
            self.paused = True

    def resume(self) -> None:
        """Allow checkouts, first to those who wait."""
        with self._lock:
            self.paused = False
            while self._waiting and self._pool:
                self.hand_on(self._pool.pop())
            if self._waiting:
                self._maybe_grow_pool()
