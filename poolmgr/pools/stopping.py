"""How what runs on a connection is stopped at the server before the connection is broken off, and again until it is."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from threading import Event, Thread
from time import monotonic, sleep
from typing import Any

from poolmgr.pools.cancelling import AGAIN

logger = logging.getLogger("poolmgr.pool")

#: Seconds for which a server is asked to stop what runs.
_PATIENCE = 5.0

#: Called with a deadline on the monotonic clock, once or again, in a thread that may wait; the connection may be closed.
#: What it returns is true where the server has heard it.
Stop = Callable[[float], object]


class AwaitedStop:
    """A request that ``send`` awaits, in a loop of its own: the connection's may be closed, or at something else."""

    def __init__(self, send: Callable[[], Coroutine[Any, Any, object]]) -> None:
        self._send = send

    def __call__(self, deadline: float) -> bool:
        try:
            asyncio.run(self._within(deadline - monotonic()))
        except Exception as ex:
            logger.info("a statement could not be cancelled: %s", type(ex).__name__)
            return False
        return True

    async def _within(self, seconds: float) -> None:
        async with asyncio.timeout(max(0.0, seconds)):
            await self._send()


def break_off(stop: Stop, hang_up: Callable[[], object]) -> Event:
    """Stop what runs, then hang up, for which a thread of its own waits; what is returned is set when both are done."""
    done = Event()
    Thread(target=_break_off, args=[stop, hang_up, done], name="poolmgr-deadline", daemon=True).start()
    return done


def _break_off(stop: Stop, hang_up: Callable[[], object], done: Event) -> None:
    deadline, pause = monotonic() + _PATIENCE, AGAIN
    try:
        stop(deadline)
    finally:
        hang_up()
        done.set()
    # Nothing is heard on it any more, such as whether that came before its statement.
    while monotonic() + pause < deadline:
        sleep(pause)
        stop(deadline)
        pause *= 2
