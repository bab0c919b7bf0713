"""psycopg_pool's ConnectionPool with what an operator needs: sizes that change now, pause, last-used-first, quick retry.

Private names of psycopg_pool 3.3 used here, in managed.py and in their neighbours (requirements pin the range): ``_lock
_pool _waiting _nconns _nconns_min _min_size _max_size _closed _stats _sched _reset _open _open_implicit
_pool_full_event _REQUESTS_ERRORS _REQUESTS_QUEUED _REQUESTS_WAIT_MS _REQUESTS_NUM _CONNECTIONS_LOST
_check_open_getconn _check_size _get_ready_connection _getconn_unchecked _maybe_grow_pool _add_to_pool _connect
_return_connection _close_connection``, of ``psycopg_pool.pool`` the classes ``AddConnection``, ``MaintenanceTask`` and
``WaitingClient``, and on connections ``_pool _expire_at``. Of psycopg, in connection.py and managed.py: ``_autocommit
_prepared _notice_handlers _notify_handlers _notifies_backlog _num_transactions _tpc _pipeline``.

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
from psycopg_pool import PoolTimeout, TooManyRequests
from psycopg_pool.pool import AddConnection

from poolmgr.pools.diagnosis import diagnose
from poolmgr.targets.postgresql.connecting import RETRY_WHILE_WAITED, ConnectingPool
from poolmgr.targets.postgresql.connection import PooledConnection, pooled
from poolmgr.targets.postgresql.leaving import see_off
from poolmgr.targets.postgresql.liveness import PATIENCE, ask
from poolmgr.targets.postgresql.parting import Parting
from poolmgr.targets.postgresql.waiting import Place

logger = logging.getLogger("poolmgr.pool")


class ElasticPool(ConnectingPool):
    """``on_connect`` is told the seconds of each connect, or the error."""

    def __init__(
        self, *args: Any, on_connect: Callable[[float, Exception | None], None] | None = None, **kwargs: Any
    ) -> None:
        opened = kwargs.pop("open", None)
        kwargs["connection_class"] = pooled(kwargs.get("connection_class", PooledConnection))
        super().__init__(*args, on_connect=on_connect, **kwargs)
        self.paused = False
        self.on_get: Callable[[float | None], PooledConnection] | None = None
        self.on_return: Callable[[PooledConnection], None] | None = None
        self.on_put: Callable[[PooledConnection], None] | None = None
        self.on_lend: Callable[[PooledConnection, Any], None] | None = None
        self._open_implicit = opened is None
        if opened is not False:
            self._open()

    # -- checkout -----------------------------------------------------------------------------------------------------

    def getconn(self, timeout: float | None = None) -> PooledConnection:
        """Take a connection by psycopg_pool's own call, as code written for it does."""
        return super().getconn(timeout) if self.on_get is None else self.on_get(timeout)

    def wait_for(self, timeout: float, owner: Any) -> PooledConnection:
        """psycopg_pool's ``getconn()`` without its check, which has no deadline and sleeps after the second failure.

        ``on_lend`` is told of ``owner`` by whoever serves them, under the lock that they hold already: else each who has
        waited would at once stand in line for that lock, with a connection in their hands.
        """
        self.begin_request()
        return self._getconn_unchecked(timeout, owner)

    def begin_request(self) -> None:
        """Raises ``PoolClosed``."""
        self._stats[self._REQUESTS_NUM] += 1
        self._check_open_getconn()

    def _getconn_unchecked(self, timeout: float, owner: Any = None) -> PooledConnection:
        """psycopg_pool's, but whoever stops waiting, for whatever reason, leaves the queue and takes nothing along.

        Left in the queue, those who timed out would count as waiting, and a killed greenlet would be given a connection.
        """
        place, waits = Place(owner), False
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
                self.on_lend(conn, place.owner)
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

    def putconn(self, conn: PooledConnection) -> None:
        """Return a connection by psycopg_pool's own call, as code written for it does."""
        if self.on_return is not None and getattr(conn, "_pool", None) is self:
            self.on_return(conn)
        else:
            super().putconn(conn)

    # -- sizes --------------------------------------------------------------------------------------------------------

    def resize(self, min_size: int, max_size: int | None = None) -> None:
        """Change the sizes now: more room serves those who wait already, less closes idle connections at once."""
        min_size, max_size = self._check_size(min_size, max_size)
        with self._lock:
            surplus = self.set_sizes(min_size, max_size)
        self.see_off(surplus)

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
                if place.set(conn):
                    if self.on_lend is not None:
                        self.on_lend(conn, place.owner)
                    return
        entry = getattr(conn, "entry", None)
        if entry is not None:
            entry.idle_since = now or monotonic()
        self._pool.append(conn)
        if self._pool_full_event and len(self._pool) >= self._min_size:
            self._pool_full_event.set()

    # -- operations ---------------------------------------------------------------------------------------------------

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

    def check(self) -> None:
        """psycopg_pool's own call: ask every idle connection, one after the other, and replace those that don't answer."""
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
        """psycopg_pool's own call: replace every connection, those in use as they return."""
        with self._lock:
            self.generation += 1
        super().drain()

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

    def replace(self, old: PooledConnection) -> Exception | None:
        """Put a fresh connection in the place of ``old``, which nobody owns.

        The fresh one is ready before the old one closes, unless the pool is at ``max_size``: then the old one is gone
        first, since the limit holds. When the connect fails its error is returned; ``old`` stays in service if it can,
        and else its place is filled as soon as the server lets us.
        """
        with self._lock:
            room = self._nconns < self._max_size
            if room:
                self._nconns += 1
        if not room:
            self._close_connection(old)
        try:
            fresh = self._connect()
        except Exception as ex:
            if room:
                with self._lock:
                    self._nconns -= 1
                self._add_to_pool(old)
            else:
                self.schedule_task(AddConnection(self), RETRY_WHILE_WAITED)
            return ex
        if room:
            self.give_up(old)
        self._add_to_pool(fresh)
        return None
