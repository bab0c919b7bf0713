"""LoopPool: the core's pool, whose borrowers are tasks of one event loop.

All decisions and books are the core's, under its lock, which is a thread's and never held for long: so the law of the port
holds from any thread, whatever the loop is at. What may wait is done by the core's workers, which have it done in the loop.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator
from time import monotonic
from types import CodeType
from typing import Any, Protocol
from weakref import ref

from poolmgr.pools import waits
from poolmgr.pools.aio.bridge import Bridge
from poolmgr.pools.aio.forgotten import Silence, is_suspended, users_of
from poolmgr.pools.aio.place import Awaited
from poolmgr.pools.core import explain, leasing, reclaiming, rounds, validation
from poolmgr.pools.core.driver import Driver
from poolmgr.pools.core.leaving import give_up
from poolmgr.pools.core.pool import CorePool
from poolmgr.pools.core.slot import Slot
from poolmgr.pools.core.ticker import ticker
from poolmgr.pools.forks import attend, here
from poolmgr.pools.labels import current_label
from poolmgr.pools.port import Recycled
from poolmgr.pools.spec import PoolSpec

logger = logging.getLogger("poolmgr.pool")

#: The longest that a loop's end waits for what is under way in it, and for connects that were cancelled, in seconds.
_LAST_TURNS = 0.5


class LoopDriver(Driver, Protocol):
    """A driver whose connections live in an event loop. What is not a coroutine here is called as the core's is."""

    async def aask(self, conn: Any, query: str, seconds: float) -> None:
        """``ask()`` in the loop, for a borrower who awaits it."""

    def let_go(self, conn: Any) -> None:
        """Close without waiting, in the loop, or in whatever thread once it is closed; ``close()`` hears the server's end."""

    def said(self, conn: Any) -> int:
        """How often something was said on it, to tell whether it is used."""

    def is_kept_by(self, user: Any) -> bool:
        """Whether ``user``, which refers to a connection, is of the library's clients that keep one beyond a task."""


class LoopPool(CorePool):
    """One event loop's pool to one target."""

    driver: LoopDriver

    def __init__(
        self,
        kind: str,
        target: str,
        bootstrap: PoolSpec,
        driver: LoopDriver,
        address: str,
        bridge: Bridge,
    ) -> None:
        super().__init__(kind, target, bootstrap, driver, address)
        self.bridge = bridge
        self.loop = bridge.loop
        self._thread_s_owner = self.current_owner
        self.current_owner = self._current_task
        self._silence = Silence()
        self._end: AsyncGenerator[None, None] | None = None
        self._born = monotonic()

    def _current_task(self) -> Any:
        try:
            task = asyncio.current_task()
        except RuntimeError:  # no loop runs in this thread
            task = None
        return task or self._thread_s_owner()

    # -- checkout -----------------------------------------------------------------------------------------------------

    async def acheckout(self, timeout: float | None = None) -> Slot:
        """``checkout()`` for a task of the loop. Cancelled at whichever step, it takes nothing along."""
        if not here:
            attend()
        asked = monotonic()
        if self.idle and asked < self.lapses:
            owner, label = self._current_task(), current_label()
            with self.lock:
                slot = self.idle.pop() if self.idle and not self.paused else None
                if slot is not None:
                    self.lend(slot, owner, label, asked)
            if slot is not None:
                looks_well = asked - slot.idle_since < self.trusted and not slot.has_news(0)
                if looks_well or await self._is_fit_in_the_loop(slot, asked, timeout):
                    self.wait_time.add(monotonic() - asked)
                    return slot
        return await self._acheckout_slowly(asked, timeout)

    async def _acheckout_slowly(self, asked: float, timeout: float | None) -> Slot:
        seconds = self.spec.connection_timeout if timeout is None else timeout
        deadline = asked + seconds
        if asked >= self.lapses:
            # Before anybody is served: this process may have been frozen for longer than its lease.
            leasing.lapse(self)
        has_waited = False
        while True:
            place = Awaited(self._current_task(), self.bridge)
            try:
                slot = await self._await_place(place, asked, max(0.001, deadline - monotonic()), seconds)
            except Exception as error:
                waits.tell(self.target, asked, error)
                raise
            has_waited = has_waited or place.has_waited
            now = monotonic()
            if await self._is_fit_in_the_loop(slot, now, deadline - now):
                self.wait_time.add(monotonic() - asked)
                if has_waited:
                    waits.tell(self.target, asked)
                return slot

    async def _await_place(self, place: Awaited, asked: float, left: float, timeout: float) -> Slot:
        """The next connection that is to be had. Whoever stops waiting leaves the queue and takes nothing along."""
        try:
            slot = self._take_or_queue(place)
            served = slot is not None or await place.woken(left)
        except BaseException:
            if not self._leave(place) and place.slot is not None:
                self.give_back(place.slot)
            raise
        if slot is not None:
            return slot
        if not served and self._leave(place):
            self.missed(monotonic() - asked)
            raise explain.timed_out(self, timeout)
        # Who takes a place out of the queue serves it before the lock is free, but fails it after that.
        if place.slot is not None:
            return place.slot
        self.count(checkout_errors=1)
        raise place.error or explain.timed_out(self, timeout)

    async def _is_fit_in_the_loop(self, slot: Slot, now: float, timeout: float | None) -> bool:
        """Whether a connection just taken may be handed out; one that may not is dropped."""
        fault = validation.look(self, slot, now)
        if fault == validation.DOUBTFUL:
            fault = await self._answer(slot, validation.seconds_for(self, timeout))
        if fault:
            self._drop(slot, fault)
        return not fault

    async def _answer(self, slot: Slot, seconds: float) -> str:
        try:
            await self.driver.aask(slot.conn, self.spec.validation_query, seconds)
        except Exception as ex:
            return validation.fault_of(self, slot, ex)
        except BaseException:  # cancelled, and an answer may be under way
            self.give_back(slot, fit=False)
            raise
        return ""

    # -- what a task leaves -------------------------------------------------------------------------------------------

    def has_left(self, slot: Slot, owner: Any, codes: dict[int, CodeType]) -> bool:
        """As for threads; but what a task that has ended borrowed may be used by another."""
        if not super().has_left(slot, owner, codes):
            return False
        if not isinstance(owner, asyncio.Task):
            return True
        if not self._silence.lasts(slot, self.driver.said(slot.conn)):
            return False
        return self.is_dropped(slot)

    def is_dropped(self, slot: Slot) -> bool:
        """Whether no code that waits and no client of the library's refers to it.

        The number of those who refer to a connection can't be trusted alone: errors of coroutines leave frames behind that
        refer to it until they are collected.
        """
        return not any(is_suspended(user) or self.driver.is_kept_by(user) for user in users_of(slot.conn))

    # -- the loop's end -----------------------------------------------------------------------------------------------

    @property
    def is_over(self) -> bool:
        """Whether its loop is closed, so that nobody can use it any more."""
        return self.loop.is_closed()

    def stay_until_the_loop_ends(self) -> None:
        """Called in the loop: be told before it is closed, as ``asyncio.run()`` tells what generates asynchronously."""
        if self._end is None:
            self._end = _end_of_loop(ref(self))
            try:
                self._end.__anext__().send(None)
            except StopIteration:
                pass  # it has begun

    def retire(self) -> None:
        """As the core does; what connects just now is cancelled."""
        super().retire()
        self.bridge.end_connects()

    def leave(self) -> None:
        """Retire, and part from what is used too: in the loop as it ends, or in any thread once it is closed."""
        self.retire()
        with self.lock:
            held = [slot for slot in list(self.out) if self.take_back(slot)]
        self.let_go()
        for slot in held:
            give_up(self, slot)

    def let_go(self) -> None:
        """Close the sockets of all that is there: in the loop as it ends, or in any thread once it is closed."""
        with self.lock:
            going = {*self.living, *self.leaving}
        for slot in going:
            self.driver.let_go(slot.conn)

    def _round(self) -> None:
        if self.is_over and not self.retired:
            logger.warning(
                "pool %r: its event loop was closed with connections open, which are closed now", self.target
            )
            self.leave()
        if not self.retired and not self.bridge.is_open:
            # It stands still, and may go on.
            ticker().at(monotonic() + rounds.INTERVAL, self._round)
            return
        self._forget()
        super()._round()

    def _forget(self) -> None:
        """What was noted of tasks that are gone."""
        with self.lock:
            self._silence.keep_only(self.out)

    @property
    def least(self) -> int:
        """How many connections are kept warm: none in the first moments, since many a loop serves one request and ends."""
        return super().least if monotonic() - self._born > rounds.INTERVAL / 2 else 0

    def grow(self) -> None:
        """As the core does; while the loop stands still nothing can be connected."""
        if self.retired or self.bridge.is_open:
            super().grow()

    def recycle(self, timeout: float = 30.0) -> Recycled:
        """As the core does. Raises ``RuntimeError`` in the loop itself, which would wait for what it has to do."""
        if self.bridge.is_here:
            raise RuntimeError("recycle() waits for the event loop: call it by asyncio.to_thread()")
        return super().recycle(timeout)

    def close(self, timeout: float = 5.0) -> None:
        """As the core does; in the loop itself, which has to close the connections, without waiting."""
        if not self.bridge.is_here:
            super().close(timeout)
            return
        self.retire()
        reclaiming.reclaim(self)


async def _end_of_loop(pool: ref[LoopPool]) -> AsyncGenerator[None, None]:
    try:
        yield
    finally:
        if (it := pool()) is not None:
            it.leave()
            await it.bridge.end(_LAST_TURNS)
            # What connects just now has been cancelled. Who comes for what had connected by then finds nothing any more, and
            # who has come for it has it with the rest in a moment.
            it.bridge.let_go_of_made()
            ends = monotonic() + _LAST_TURNS
            while it.connecting and monotonic() < ends:
                await asyncio.sleep(0.005)
            it.let_go()
            del it
            # The loop closes sockets in its next turns.
            await asyncio.sleep(0)
            await asyncio.sleep(0)
