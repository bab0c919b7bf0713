"""The first connect of an asyncio engine, in which SQLAlchemy gets to know the server."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from threading import Lock
from time import monotonic
from typing import Any

from poolmgr.pools.core.driver import NoAnswer

#: Seconds between two looks whether another loop's first connect is over.
_MOMENT = 0.01


class First:
    """Others wait for it here. SQLAlchemy would have them wait at a lock of one event loop, and those of others for ever."""

    def __init__(self) -> None:
        self._over = False
        self._lock = Lock()

    @property
    def is_over(self) -> bool:
        return self._over

    def in_turn(self, connect: Callable[[float], Any], timeout: float) -> Any:
        """What ``connect`` returns, called with the seconds that are left; from a thread of the pool's."""
        if self._over:
            return connect(timeout)
        deadline = monotonic() + timeout
        if not self._lock.acquire(timeout=timeout):
            raise NoAnswer("the engine's first connect takes too long")
        try:
            made = connect(max(0.001, deadline - monotonic()))
            self._over = True
        finally:
            self._lock.release()
        return made

    async def turn(self) -> bool:
        """For who connects in an event loop: wait for the turn; whether it has to be ``ended()``."""
        while not self._over:
            if self._lock.acquire(blocking=False):
                return True
            await asyncio.sleep(_MOMENT)
        return False

    def ended(self, well: bool) -> None:
        self._over = self._over or well
        self._lock.release()

    def begin_anew(self) -> None:
        """In a forked child, which doesn't have the thread that may have held the lock."""
        self._lock = Lock()
