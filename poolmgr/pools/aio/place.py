"""A place in the queue of a task, which the event loop wakes."""

from __future__ import annotations

from time import monotonic
from typing import Any

from poolmgr.pools.aio.bridge import Bridge
from poolmgr.pools.aio.waking import Waker
from poolmgr.pools.core.slot import Place, Slot
from poolmgr.pools.labels import current_label


class Awaited(Place):
    """Served and failed from any thread; made and awaited in the loop."""

    __slots__ = ("_waker",)

    def __init__(self, owner: Any, bridge: Bridge) -> None:
        self.owner = owner
        self.label = current_label()
        self.since = monotonic()
        self.slot: Slot | None = None
        self.error: Exception | None = None
        self._waker = Waker(bridge)

    async def woken(self, timeout: float) -> bool:
        """Whether it was served or failed in time."""
        await self._waker.wait(timeout, self._is_served)
        return self._is_served()

    def serve(self, slot: Slot) -> None:
        self.slot = slot
        # Where the loop is closed nobody waits any more; the pool's end takes back what they were given.
        self._waker.call()

    def fail(self, error: Exception) -> None:
        self.error = error
        self._waker.call()

    def _is_served(self) -> bool:
        return self.slot is not None or self.error is not None
