"""Somebody's place among those who wait for a connection."""

from __future__ import annotations

from threading import Lock
from time import monotonic
from typing import Any

from psycopg_pool import PoolTimeout
from psycopg_pool.pool import WaitingClient

from poolmgr.pools.labels import current_label
from poolmgr.targets.postgresql.connection import PooledConnection

#: Whoever took a place out of the queue to fail it does so at once; the longest, in seconds, that this is waited for.
_AT_ONCE = 1.0


class Place(WaitingClient[PooledConnection]):
    """psycopg_pool's, with a plain lock for its condition, which is dear to make and to wake.

    That will do since the queue decides: whoever takes a place out of it, with the pool's lock held, is the only one to
    serve it, and who has stopped waiting takes it out themselves. ``owner`` and ``label`` are for its entry; ``since`` is
    when it was made.
    """

    __slots__ = ("_gate", "label", "owner", "since")

    def __init__(self, owner: Any) -> None:
        # Without psycopg_pool's own, which makes the condition.
        self.conn = self.error = None
        self.owner = owner
        self.label = current_label()
        self.since = monotonic()
        self._gate = Lock()
        self._gate.acquire()

    @property
    def has_waited(self) -> bool:
        """Whether its owner was served out of the queue, and did not find one that was idle."""
        return self.conn is not None

    def wait(self, timeout: float) -> PooledConnection:
        """Raises ``PoolTimeout``, or what the place was failed with."""
        if not self._gate.acquire(timeout=timeout):
            raise PoolTimeout(f"no connection within {timeout:.2f} s")
        if self.error is not None:
            raise self.error
        assert self.conn is not None
        return self.conn

    def set(self, conn: PooledConnection) -> bool:
        self.conn = conn
        self._gate.release()
        return True

    def fail(self, error: Exception) -> bool:
        self.error = error
        self._gate.release()
        return True

    def settled(self) -> PooledConnection:
        """What came of it at the last moment, for who has waited too long and is no longer in the queue."""
        return self.wait(_AT_ONCE)
