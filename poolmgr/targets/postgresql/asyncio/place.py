"""The place of a task among those who wait for a connection."""

from __future__ import annotations

import asyncio
from typing import Any

from psycopg_pool import PoolTimeout

from poolmgr.pools.aio.bridge import Bridge
from poolmgr.targets.postgresql.connection import PooledConnection
from poolmgr.targets.postgresql.waiting import Place


class Awaited(Place):
    """Served and failed from any thread; made and awaited in the event loop."""

    __slots__ = ("_bridge", "_woken")

    def __init__(self, owner: Any) -> None:
        # Without the lock that a thread waits at.
        self.conn = self.error = None
        self.owner = owner
        self._bridge = Bridge(asyncio.get_running_loop())
        self._woken: asyncio.Future[None] = self._bridge.loop.create_future()

    async def come(self, seconds: float) -> bool:
        """Wait for as long; whether it was served or failed."""
        ends = self._bridge.loop.call_later(seconds, self._wake)
        try:
            await self._woken
        finally:
            ends.cancel()
        return self.conn is not None or self.error is not None

    def outcome(self) -> PooledConnection:
        """For who is no longer in the queue. Raises what it was failed with."""
        if self.conn is not None:
            return self.conn
        raise self.error or PoolTimeout("no connection in time")

    def set(self, conn: PooledConnection) -> bool:
        """False where nobody can wait any more, so that the next in the queue is served."""
        self.conn = conn
        if self._call():
            return True
        self.conn = None
        return False

    def fail(self, error: Exception) -> bool:
        self.error = error
        return self._call()

    def _call(self) -> bool:
        if self._bridge.is_here:
            self._wake()
            return True
        return self._bridge.tell(self._wake)

    def _wake(self) -> None:
        if not self._woken.done():
            self._woken.set_result(None)
