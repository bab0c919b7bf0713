"""The place of a task among those who wait for a connection."""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import Any

from psycopg_pool import PoolTimeout

from poolmgr.pools.aio.bridge import Bridge
from poolmgr.pools.aio.waking import Waker
from poolmgr.pools.labels import current_label
from poolmgr.targets.postgresql.connection import PooledConnection
from poolmgr.targets.postgresql.waiting import Place


class Awaited(Place):
    """Served and failed from any thread; made and awaited in the event loop."""

    __slots__ = ("_waker",)

    def __init__(self, owner: Any) -> None:
        # Without the lock that a thread waits at.
        self.conn = self.error = None
        self.owner = owner
        self.label = current_label()
        self.since = monotonic()
        self._waker = Waker(Bridge(asyncio.get_running_loop()))

    async def come(self, seconds: float) -> bool:
        """Wait for as long; whether it was served or failed."""
        await self._waker.wait(seconds, self._is_served)
        return self._is_served()

    def outcome(self) -> PooledConnection:
        """For who is no longer in the queue. Raises what it was failed with."""
        if self.conn is not None:
            return self.conn
        raise self.error or PoolTimeout("no connection in time")

    def set(self, conn: PooledConnection) -> bool:
        """False where nobody can wait any more, so that the next in the queue is served."""
        self.conn = conn
        if self._waker.call():
            return True
        self.conn = None
        return False

    def fail(self, error: Exception) -> bool:
        self.error = error
        return self._waker.call()

    def _is_served(self) -> bool:
        return self.conn is not None or self.error is not None
