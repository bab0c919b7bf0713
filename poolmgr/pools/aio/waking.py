"""How a task that waits for a connection is woken, from whatever thread serves it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextvars import Context
from time import monotonic

from poolmgr.pools.aio.bridge import Bridge

#: Seconds after which whoever waits looks whether they were served.
_LOOK = 0.25


class Waker:
    """Of one task, once. Made and awaited in the loop that the bridge leads into."""

    __slots__ = ("_bridge", "_looks", "_woken")

    _looks: asyncio.TimerHandle

    def __init__(self, bridge: Bridge) -> None:
        self._bridge = bridge
        self._woken: asyncio.Future[None] = bridge.loop.create_future()

    async def wait(self, seconds: float, is_served: Callable[[], bool]) -> None:
        """Until it is called, or for as long."""
        # In a context of nobody's: a loop keeps what it was to call until it would be due, although that was cancelled.
        ends = self._bridge.loop.call_later(seconds, self._wake, context=Context())
        self._look(monotonic() + seconds, is_served)
        try:
            await self._woken
        finally:
            ends.cancel()
            self._looks.cancel()

    def call(self) -> bool:
        """From any thread; False where the loop is closed, so that nobody waits any more."""
        if self._bridge.is_here:
            self._wake()
            return True
        return self._bridge.tell(self._wake)

    def _wake(self) -> None:
        if not self._woken.done():
            self._woken.set_result(None)

    def _look(self, deadline: float, is_served: Callable[[], bool]) -> None:
        """An interruption of the loop's thread may have taken the place of the call that was to wake it, or of the one that
        was to end it: so a third goes on until it is awake."""
        if self._woken.done():
            return
        self._looks = self._bridge.loop.call_later(_LOOK, self._look, deadline, is_served, context=Context())
        if is_served() or monotonic() >= deadline:
            self._wake()
