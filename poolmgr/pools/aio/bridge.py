"""How a thread of the pool's has something done in an event loop, and what becomes of that when the loop ends."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from threading import Event
from time import monotonic
from typing import Any

#: Seconds after which whoever waits looks whether the loop is there still.
_LOOK = 0.25
#: The longest that is waited for what was cancelled to end, in seconds.
_AT_ONCE = 1.0


class LoopEnded(Exception):
    """The event loop was closed, or ended what it was asked for."""


class Bridge:
    """Into one event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop

    @property
    def is_open(self) -> bool:
        """Whether the loop runs, so that what it is told is done."""
        return self.loop.is_running()

    @property
    def is_here(self) -> bool:
        """Whether this is called in the loop itself."""
        return running_loop() is self.loop

    def tell(self, act: Callable[[], object]) -> bool:
        """Have the loop call ``act``, soon; False where it is closed. From any thread, without waiting."""
        try:
            self.loop.call_soon_threadsafe(act)
        except RuntimeError:
            return False
        return True

    def run(self, begin: Callable[[], Coroutine[Any, Any, Any]], seconds: float) -> Any:
        """What the coroutine that ``begin`` makes in the loop returns, in a task of its own. Waits; not called in the loop.

        Raises what it raises, ``TimeoutError`` after so many seconds, when it was cancelled, and ``LoopEnded``.
        """
        call = _Call(begin)
        if not self.tell(call.start):
            raise LoopEnded("the event loop is closed")
        deadline = monotonic() + seconds
        while not call.done.wait(max(0.0, min(_LOOK, deadline - monotonic()))):
            if self.loop.is_closed():
                raise LoopEnded("the event loop was closed")
            if monotonic() >= deadline:
                self.tell(call.give_up)
                if not call.done.wait(_AT_ONCE if self.is_open else 0):
                    call.give_up_from_outside()
                raise TimeoutError(f"the event loop did not come to an end with it within {seconds:g} s")
        if call.error is not None:
            raise call.error
        return call.result


class _Call:
    """It keeps nothing of what it calls once that has begun: the pool counts who refers to a connection."""

    def __init__(self, begin: Callable[[], Coroutine[Any, Any, Any]]) -> None:
        self._begin: Callable[[], Coroutine[Any, Any, Any]] | None = begin
        self._task: asyncio.Task[Any] | None = None
        self.result: Any = None
        self.error: BaseException | None = None
        self.done = Event()

    def start(self) -> None:
        begin, self._begin = self._begin, None
        if begin is not None:
            self._task = asyncio.get_running_loop().create_task(begin(), name="poolmgr")
            self._task.add_done_callback(self._finished)

    def give_up(self) -> None:
        if self._task is not None:
            self._task.cancel()

    def give_up_from_outside(self) -> None:
        self._begin = None

    def _finished(self, task: asyncio.Task[Any]) -> None:
        self._task = None
        if task.cancelled():
            self.error = LoopEnded("the event loop has cancelled it")
        elif (error := task.exception()) is not None:
            self.error = error
        else:
            self.result = task.result()
        self.done.set()


def running_loop() -> asyncio.AbstractEventLoop | None:
    """The one that runs in this thread."""
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
