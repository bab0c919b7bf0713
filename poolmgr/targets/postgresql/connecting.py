"""How a pool connects: quick tries again while somebody waits, and no hope where the server refuses us.

The law of the lock in elastic.py holds here too.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from math import inf
from queue import Empty, SimpleQueue
from time import monotonic
from typing import Any

from psycopg import OperationalError
from psycopg_pool import PoolClosed
from psycopg_pool.pool import AddConnection, MaintenanceTask

from poolmgr.exceptions import AuthenticationFailed
from poolmgr.pools.diagnosis import diagnose
from poolmgr.secrets import disarm, replica
from poolmgr.targets.postgresql.connection import PooledConnection, adopt
from poolmgr.targets.postgresql.leaving import LeavingPool
from poolmgr.targets.postgresql.liveness import PATIENCE
from poolmgr.targets.postgresql.opening import connect_soon, open_until, unfinished
from poolmgr.targets.postgresql.parting import is_busy
from poolmgr.targets.postgresql.pooler import is_behind_pooler, server_pid
from poolmgr.targets.postgresql.preparing import expect_idle
from poolmgr.targets.postgresql.scheduling import Schedule
from poolmgr.targets.postgresql.session import SessionEntry

#: While somebody waits, a failed connect is tried again after this many seconds; psycopg_pool's pauses double from 1 s.
RETRY_WHILE_WAITED = 0.25


#: Our pools by name, and whether somebody else tells of their connects.
_ours: dict[str, bool] = {}
_SAID_OTHERWISE = ("growing pool", "error connecting in", "reconnection attempt in")


def _may_be_said(record: logging.LogRecord) -> bool:
    """psycopg_pool says that it grows with its lock held, under which nothing may wait for a log handler's lock.

    And it says of each of hundreds of tries that it failed.
    """
    name = str(record.args[0]) if isinstance(record.args, tuple) and record.args else ""
    unsaid = _SAID_OTHERWISE if _ours.get(name) else ("growing pool",)
    return name not in _ours or not record.msg.startswith(unsaid)


logging.getLogger("psycopg.pool").addFilter(_may_be_said)


class Resting(MaintenanceTask):
    """A failed connect that waits for its next try, and can be called forward when a borrower comes."""

    def __init__(self, pool: ConnectingPool, task: AddConnection) -> None:
        super().__init__(pool)
        self.task = task

    def _run(self, pool: Any) -> None:
        with pool._lock:
            if self not in pool.resting:
                return
            pool.resting.discard(self)
        self.task._run(pool)


class ConnectingPool(LeavingPool):
    """``on_connect`` is told the seconds of each connect, or the error."""

    def __init__(self, *args: Any, on_connect: Callable[[float, Exception | None], None] | None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self._configure is not None:
            self._configure = partial(self._configure_or_part, self._configure)
        self.generation = 1
        self.retired = False
        self.ends = inf  # of the lease: what is under way then is given up, since others may have its room
        self.connecting: list[float] = []  # when each connect under way began
        self.attempts = 0  # the same and those that wait for room
        self.behind_pooler = False  # as the last connect found it
        self.resting: set[Resting] = set()
        self.last_error: Exception | None = None
        self.last_error_at = 0.0
        self.on_connect = on_connect
        # The garbage collector may be at work while this thread holds any lock there is: it only leaves a note.
        self._lost: SimpleQueue[None] = SimpleQueue()
        self._note_loss = partial(self._lost.put, None)
        _ours[self.name] = on_connect is not None

    def _start_workers(self) -> None:
        # Unlike psycopg_pool's own they take a task from a finaliser that runs in the middle of another's.
        self._tasks, self._sched = SimpleQueue(), Schedule()  # type: ignore[assignment]
        super()._start_workers()

    @property
    def held(self) -> int:
        """What the server has of us, or is about to. Called with the lock held."""
        present = len(self.living) + len(self.connecting) + len(self.leaving) + len(self.passing)
        # In a retired pool places mean nothing any more: nobody is about to take one.
        return present if self.retired else max(self._nconns, present)

    def retire(self) -> None:
        """From now on nothing connects."""
        with self._lock:
            self.retired = True

    def _call_forward(self) -> None:
        """Let one failed connect try again now, or as soon as the last failure is not quite fresh."""
        resting = self.resting.pop()
        fresh = AddConnection(self, growing=resting.task.growing)
        delay = self.last_error_at + RETRY_WHILE_WAITED - monotonic()
        if delay <= 0:
            self.run_task(fresh)
        else:
            self.resting.add(again := Resting(self, fresh))
            super().schedule_task(again, delay)

    def schedule_task(self, task: MaintenanceTask, delay: float) -> None:
        if isinstance(task, AddConnection):
            with self._lock:
                if self.present > self._max_size:
                    # Since the first try the settings or the lease have left no room for it.
                    self._nconns -= 1
                    self._growing = self._growing and not task.growing
                    return
                task = Resting(self, task)
                self.resting.add(task)
                if self._waiting:
                    # One try at this pace is enough, however many connections are missing.
                    delay = min(delay, RETRY_WHILE_WAITED * len(self.resting))
        super().schedule_task(task, delay)

    def _configure_or_part(self, configure: Callable[[Any], None], conn: Any) -> None:
        try:
            configure(conn)
            expect_idle(conn)
        except BaseException:
            self._close_connection(conn)
            raise

    def _connect(self, timeout: float | None = None) -> PooledConnection:
        with self._lock:
            self.attempts += 1
        try:
            self._await_passing()
            return self._connect_now(timeout)
        finally:
            with self._lock:
                self.attempts -= 1

    def _connect_now(self, timeout: float | None) -> PooledConnection:
        began = monotonic()
        with self._lock:
            if self.retired:
                raise PoolClosed(f"the pool {self.name!r} is closed")
            ends = self.ends
            if began >= ends:
                raise OperationalError("the lease is over by which this process may connect")
            self.connecting.append(began)
            generation = self.generation
        error: Exception | None = None
        try:
            with open_until(ends):
                conn = super()._connect(timeout)
            if not isinstance(conn, PooledConnection):
                adopt(conn, self.connection_class)
            entry = self._entry_of(conn, generation, ends)
            conn.enter(entry, self._note_loss)
            with self._lock:  # under which others go through them
                self.living.add(conn)
            return conn
        except Exception as ex:
            # Whoever logs it, waits for it or asks for it later gets no frame that knows how we connect.
            error = disarm(ex)
            raise
        finally:
            took = monotonic() - began
            for given_up in unfinished():
                self._close_connection(given_up)
            with self._lock:
                self.connecting.remove(began)
                self.last_error = error
                self.last_error_at = began + took if error else 0.0
                hopeless = [(waiter, replica(error)) for waiter in self._take_hopeless(error)] if error else []
            for waiter, of_its_own in hopeless:
                waiter.fail(of_its_own)
            if self.on_connect:
                self.on_connect(took, error)

    def connect_apart(self) -> Any:
        """A connection as the pool's that is none of them, as ``opening.connect_soon()`` has it."""
        return connect_soon(self._resolve_conninfo(), **self._resolve_kwargs())

    def _entry_of(self, conn: PooledConnection, generation: int, ends: float) -> SessionEntry:
        try:
            # A pooler whose server connections are all taken has it wait in its queue, as a borrower waits in ours.
            pid = server_pid(conn, min(max(PATIENCE, self.timeout), ends - monotonic()))
        except BaseException:
            self._close_connection(conn)
            raise
        self.behind_pooler = is_behind_pooler(conn, pid)
        # Which process serves it behind a pooler may be another one the next time.
        entry = SessionEntry(conn.fileno(), 0 if self.behind_pooler else conn.info.backend_pid, generation, monotonic())
        entry.expires = conn._expire_at
        entry.behind_pooler = self.behind_pooler
        return entry

    def _return_connection(self, conn: PooledConnection, from_getconn: bool) -> None:
        if conn.closed or is_busy(conn):
            self._close_connection(conn)  # its place is the one's that is connected instead
            self.run_task(AddConnection(self))
        else:
            super()._return_connection(conn, from_getconn)

    def take_back_lost(self) -> int:
        """Give up the places of connections that nobody had any more, as after an exception that came from a signal."""
        number = 0
        with suppress(Empty):
            while True:
                self._lost.get_nowait()
                number += 1
        if number:
            with self._lock:
                self._nconns -= number
                if self._waiting:
                    self._maybe_grow_pool()
        return number

    def unaccounted(self) -> int:
        """Places that nothing is in and that nobody is about to fill. Called with the lock held.

        Nothing is known while a task waits for a worker. One that has just begun counts here for an instant.
        """
        if self._tasks.qsize():
            return 0
        return max(0, self._nconns - len(self.living) - self.attempts - len(self.leaving) - len(self.resting))

    def grows_in_vain(self) -> bool:
        """Whether it is noted that a connection is on its way when none is; as uncertain as ``unaccounted()``."""
        return self._growing and not (self._tasks.qsize() or self.attempts or self.resting)

    def connects_slowly(self, seconds: float) -> bool:
        """Whether a connect has been under way for longer."""
        with self._lock:
            return bool(self.connecting) and monotonic() - min(self.connecting) >= seconds

    def _take_hopeless(self, error: Exception) -> list[Any]:
        """The waiters that no retry will help: the server refuses us, and no connection of ours lives."""
        alive = self.present - len(self.connecting) - len(self.resting) - 1
        if alive > 0 or diagnose(error).cls is not AuthenticationFailed:
            return []
        waiting = list(self._waiting)
        self._waiting.clear()
        return waiting
