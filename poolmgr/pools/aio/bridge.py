"""How a thread of the pool's has something done in an event loop, and what becomes of that when the loop ends."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine
from inspect import CORO_CREATED, getcoroutinestate
from threading import Event
from time import monotonic
from typing import Any

from poolmgr.pools.core.driver import NotTried

#: The event loop that runs in the present thread, None where none does. Asked at every checkout, hence no function of ours.
running_loop: Callable[[], asyncio.AbstractEventLoop | None] = asyncio._get_running_loop

#: Seconds after which whoever waits looks whether the loop is there still.
_LOOK = 0.25


class LoopBusy(NotTried):
    """The event loop was closed, or had no time: nobody's fault but its own."""


class Bridge:
    """Into one event loop. ``ends`` when that is about to be closed."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.ends = False
        self._under_way: set[asyncio.Task[Any]] = set()
        self._connects: set[asyncio.Task[Any]] | None = set()  # None once there are to be no more
        self._made: set[_Call] = set()  # connects that have succeeded, while nobody has come for what they made

    @property
    def is_open(self) -> bool:
        """Whether the loop runs, and not only to its end, so that what it is told is done."""
        return not self.ends and self.loop.is_running()

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

        Raises what it raises, ``TimeoutError`` when it took longer than so many seconds, and ``LoopBusy``, also where the
        loop was so late that the time is over. While the loop is blocked this waits longer.
        """
        return self._run(_Call(self, begin, seconds))

    def connect(
        self, begin: Callable[[], Coroutine[Any, Any, Any]], seconds: float, let_go: Callable[[Any], object]
    ) -> Any:
        """The same, until ``end_connects()``; then it raises ``LoopBusy`` at once. ``let_go`` is called in the loop with what
        was made and nobody has come for when the loop ends."""
        return self._run(_Call(self, begin, seconds, let_go))

    def end_connects(self) -> None:
        """Have what connects cancelled, and nothing connect any more. From any thread, without waiting."""
        self.tell(self._end_connects)

    def _end_connects(self) -> None:
        under_way, self._connects = self._connects, None
        for task in under_way or ():
            task.cancel()

    def _run(self, call: _Call) -> Any:
        if not self.tell(call.look):
            raise LoopBusy("the event loop is closed")
        while not call.done.wait(_LOOK):
            if self.loop.is_closed():
                call.forget()
                raise LoopBusy("the event loop was closed")
            if monotonic() >= call.deadline and (call.is_taken_back() or not self.is_open):
                raise LoopBusy("the event loop did not come to it in time")
            self.tell(call.look)  # an interruption of the loop's thread may have come in between
        self._made.discard(call)
        if call.error is not None:
            raise call.error
        try:
            return call.results.pop()
        except IndexError:
            raise LoopBusy("the event loop ends") from None

    async def end(self, seconds: float) -> None:
        """In the loop, which is about to be closed: begin nothing more, and see to the end of what is under way.

        That has so many seconds, and is cancelled then. A loop tells of tasks that it is closed with.
        """
        self.ends = True
        if self._under_way:
            _, late = await asyncio.wait([*self._under_way], timeout=seconds)
            for task in late:
                task.cancel()

    def let_go_of_made(self) -> None:
        """In the loop, after its ``end()``: part from what was connected and whose thread has not come for it yet.

        It would come when there is no loop any more to close a socket in.
        """
        for call in [*self._made]:
            try:
                made = call.results.pop()
            except IndexError:
                continue
            call.let_go(made)

    def made(self, call: _Call) -> None:
        """A connect has succeeded."""
        self._made.add(call)

    def begins(self, connects: bool) -> bool:
        """Whether something may begin."""
        return not (self.ends or (connects and self._connects is None))

    def note(self, task: asyncio.Task[Any], connects: bool) -> None:
        """One that has begun."""
        for tasks in (self._under_way, self._connects if connects else None):
            if tasks is not None:
                tasks.add(task)
                task.add_done_callback(tasks.discard)


def _nothing(made: Any) -> None:
    """What is no connect makes nothing that would have to be closed."""


class _Call:
    """It keeps nothing of what it calls once that has begun: the pool counts who refers to a connection."""

    def __init__(
        self,
        bridge: Bridge,
        begin: Callable[[], Coroutine[Any, Any, Any]],
        seconds: float,
        let_go: Callable[[Any], object] | None = None,
    ) -> None:
        self._bridge = bridge
        self._connects = let_go is not None
        self.let_go = let_go or _nothing
        self._begin = deque([begin])  # from which one of two threads gets it
        self.deadline = monotonic() + seconds
        self._ends_late = self._is_over = False
        self._task: asyncio.Task[Any] | None = None
        self._ends: asyncio.TimerHandle | None = None
        self.results: deque[Any] = deque(maxlen=1)  # from which one of two threads gets it
        self.error: BaseException | None = LoopBusy("the event loop was interrupted")
        self.done = Event()

    def look(self) -> None:
        """In the loop, now and then: begin, or do what an interruption of the loop's thread has kept from being done."""
        if self.done.is_set():
            return
        try:
            begin = self._begin.pop()
        except IndexError:
            self._look_after(self._task)
            return
        try:
            self._start(begin)
        except Exception as ex:  # a loop's own factory of tasks, say; nobody else would tell who waits
            self.error = ex
            self.done.set()

    def _look_after(self, task: asyncio.Task[Any] | None) -> None:
        if task is None:
            self.done.set()
        elif task.done():
            self._finished(task)
        elif monotonic() >= self.deadline:
            self._end(task)

    def _start(self, begin: Callable[[], Coroutine[Any, Any, Any]]) -> None:
        if (left := self.deadline - monotonic()) <= 0:
            raise LoopBusy("the event loop came to it too late")
        if not self._bridge.begins(self._connects):
            raise LoopBusy("the event loop, or the pool, ends")
        loop = asyncio.get_running_loop()
        coroutine = begin()
        try:
            task = loop.create_task(coroutine, name="poolmgr")
        except BaseException:
            coroutine.close()
            raise
        self._task = task
        self._bridge.note(task, self._connects)
        task.add_done_callback(self._finished)
        self._ends = loop.call_later(left, self._end, task)

    def is_taken_back(self) -> bool:
        """Whether it had not begun, and never will."""
        try:
            self._begin.pop()
        except IndexError:
            return False
        return True

    def forget(self) -> None:
        """Its loop is closed. A task that never came to its first step would be told of when it is collected."""
        task: Any = self._task
        if task is not None and getcoroutinestate(task.get_coro()) == CORO_CREATED:
            task._log_destroy_pending = False
            task.get_coro().close()

    def _end(self, task: asyncio.Task[Any]) -> None:
        if self._is_over:
            return
        self._is_over = True
        self._ends_late = monotonic() - self.deadline > _LOOK
        task.cancel()

    def _finished(self, task: asyncio.Task[Any]) -> None:
        if self.done.is_set():
            return
        try:
            ends, self._ends = self._ends, None
            if ends is not None:
                ends.cancel()
            if not task.cancelled():
                error = task.exception()
                if error is None:
                    self.results.append(task.result())
                    if self._connects:
                        self._bridge.made(self)
                # An interruption was meant for the loop's thread alone.
                if error is None or isinstance(error, Exception):
                    self.error = error
            elif self._is_over and not self._ends_late:
                self.error = TimeoutError("it took too long")
            else:
                self.error = LoopBusy("the event loop has cancelled it")
        finally:
            self.done.set()
