"""A place in the queue of a task, which the event loop wakes."""

from __future__ import annotations

import asyncio
from typing import Any

from poolmgr.pools.aio.bridge import Bridge
from poolmgr.pools.core.slot import Place, Slot


class Awaited(Place):
    """Served and failed from any thread; made and awaited in the loop."""

    __slots__ = ("_bridge", "_woken")

    def __init__(self, owner: Any, bridge: Bridge) -> None:
        self.owner = owner
        self.slot: Slot | None = None
        self.error: Exception | None = None
        self._bridge = bridge
        self._woken: asyncio.Future[bool] = bridge.loop.create_future()

    async def woken(self, timeout: float) -> bool:
        """Whether it was served or failed in time."""
        ends = self._bridge.loop.call_later(timeout, self._wake, False)
        try:
            return await self._woken
        finally:
            ends.cancel()

    def serve(self, slot: Slot) -> None:
        self.slot = slot
        self._call()

    def fail(self, error: Exception) -> None:
        self.error = error
        self._call()

    def _call(self) -> None:
        if self._bridge.is_here:
            self._wake(True)
        else:
            # Where the loop is closed nobody waits any more; the pool's end takes back what they were given.
            self._bridge.tell(self._wake_now)

    def _wake_now(self) -> None:
        self._wake(True)

    def _wake(self, served: bool) -> None:
        if not self._woken.done():
            self._woken.set_result(served)
