"""CorePool: the port, checkout and return, on the parts beside it."""

from __future__ import annotations

import logging
from collections import deque
from math import inf
from threading import Condition, RLock
from time import monotonic

from poolmgr.metrics.snapshot import PoolSnapshot
from poolmgr.pools import registry
from poolmgr.pools.allowance import Allowance
from poolmgr.pools.core import explain, growing, inherited, leasing, reclaiming, rounds, validation, view
from poolmgr.pools.core.driver import Driver
from poolmgr.pools.core.leaving import give_up, leave, see_off
from poolmgr.pools.core.slot import Place, Slot
from poolmgr.pools.core.state import State
from poolmgr.pools.core.ticker import ticker
from poolmgr.pools.desired import Desired
from poolmgr.pools.forks import attend, here
from poolmgr.pools.plan import Action, Plan, plan
from poolmgr.pools.port import Load, Pool, Recycled
from poolmgr.pools.spec import PoolSpec

logger = logging.getLogger("poolmgr.pool")

#: Whoever took a place out of the queue serves or fails it at once; the longest, in seconds, that this is waited for.
_AT_ONCE = 1.0


class CorePool(State):
    """One process's pool to one target, on a driver. A kind's own pool class puts its library's words on it."""

    def __init__(self, kind: str, target: str, bootstrap: PoolSpec, driver: Driver, address: str = "") -> None:
        super().__init__(kind, target, bootstrap, driver, address)
        registry.born(self)

    def __repr__(self) -> str:
        seen = self.snapshot()
        return f"<{self.kind} pool {self.target!r}: {seen.used} in use, {seen.idle} idle, {seen.pending} waiting>"

    # -- checkout and return ------------------------------------------------------------------------------------------

    def checkout(self, timeout: float | None = None) -> Slot:
        """A live connection.

        ``timeout`` in seconds, by default the profile's ``connection_timeout``. Raises a ``CheckoutError`` that says
        why none could be had.
        """
        if not here:
            attend()
        asked = monotonic()
        idle = self.idle
        if idle and asked < self.lapses:  # a glance, so that a crowd that has to wait locks once each and not twice
            slot = None
            owner = self.current_owner()
            with self.lock:
                if idle and not self.paused:
                    # The one used last: the others get to look idle, so that light traffic lets the pool shrink.
                    slot = idle.pop()
                    slot.owner = owner
                    slot.since = now = monotonic()
                    self.out.add(slot)
                    self.wait_time.add(now - asked)
            if slot is not None and self._is_fit(slot, asked, timeout):
                return slot
        return self._checkout_slowly(asked, timeout)

    def give_back(self, slot: Slot, fit: bool = True) -> bool:
        """End a checkout; False where it had ended before. What is not ``fit`` for others is closed.

        A clean return costs no round trip and waits for nothing.
        """
        if not here:
            attend()
        now = monotonic()
        with self.lock:
            if slot.owner is None:
                return False
            slot.owner = None
            slot.epoch += 1
            self.out.discard(slot)
            self.use_time.add(now - slot.since)
            if (
                fit
                and slot.expires > now
                and slot.generation == self.generation
                and self.places - self.closing <= self.most
                and not self.retired
                and now < self.lapses
            ):
                self.hand_on(slot, now)
                return True
        self._put_away(slot, fit, now)
        return True

    def _put_away(self, slot: Slot, fit: bool, now: float) -> None:
        if now >= self.lapses:
            self._lapse()
        with self.lock:
            renews = fit and not self.retired and self.is_old(slot, now) and self.present <= self.most
            renews = renews and now < self.lapses
            if not renews:
                leave(self, slot)
        if renews:
            self.workers.run(lambda: rounds.renew(self, slot))
            return
        see_off(self, [slot])
        self.grow()

    def _checkout_slowly(self, asked: float, timeout: float | None) -> Slot:
        seconds = self.spec.connection_timeout if timeout is None else timeout
        deadline = asked + seconds
        if asked >= self.lapses:
            # Before anybody is served: this process may have been frozen for longer than its lease.
            self._lapse()
        while True:
            slot = self._wait(asked, max(0.001, deadline - monotonic()), seconds)
            now = monotonic()
            if self._is_fit(slot, now, deadline - now):
                return slot

    def _wait(self, asked: float, left: float, timeout: float) -> Slot:
        """The next connection that is to be had. Whoever stops waiting leaves the queue and takes nothing along."""
        owner = self.current_owner()
        with self.lock:
            if self.retired:
                raise explain.closed(self)
            now = monotonic()
            if self.idle and not self.paused and now < self.lapses:
                slot = self.idle.pop()
                self.lend(slot, owner, asked, now)
                return slot
            full = 0 < self.spec.max_waiting <= len(self.waiting)
            if not full:
                self.waiting.append(place := Place(owner, asked))
        if full:
            self.count(checkout_errors=1)
            raise explain.too_many(self)
        try:
            self.grow()
            served = place.wait(left)
        except BaseException:
            if not self._leave(place) and place.slot is not None:
                self.give_back(place.slot)
            raise
        if not served and self._leave(place):
            self.count(timeouts=1)
            raise explain.timed_out(self, timeout)
        if not served:
            place.wait(_AT_ONCE)  # what came of it at the last moment
        if place.error is not None:
            self.count(checkout_errors=1)
            raise place.error
        assert place.slot is not None
        return place.slot

    def _leave(self, place: Place) -> bool:
        """Give up a place in the queue; False when somebody has taken it out, to serve or to fail it."""
        with self.lock:
            try:
                self.waiting.remove(place)
            except ValueError:
                return False
            return True

    def _is_fit(self, slot: Slot, now: float, timeout: float | None) -> bool:
        """Whether a connection just taken may be handed out; one that may not is dropped."""
        try:
            fault = validation.fault(self, slot, now, timeout)
        except BaseException:  # the borrower is being stopped, as by a KeyboardInterrupt
            self.give_back(slot)
            raise
        if not fault:
            return True
        with self.lock:
            slot.owner = None
            slot.epoch += 1
            self.out.discard(slot)
        give_up(self, slot)
        # One dead connection found means that every idle one is looked at.
        self.count(found_dead=1 + rounds.sweep(self, silent=fault == "silent"))
        return False

    # -- settings -----------------------------------------------------------------------------------------------------

    def apply(self, desired: Desired) -> Plan:
        """Follow new settings in place; no connection is replaced and nobody fails."""
        with self.lock:
            made = plan(self.spec, desired.spec)
            self.desired, self.spec = desired, desired.spec
            if "max_lifetime" in made.changes:
                for slot in self.living:
                    self.set_expiry(slot)
        if made.action is Action.RESIZE:
            self._resize()
        if made.action is not Action.KEEP:
            logger.info(
                "pool %r follows %s revision %s: %s", self.target, desired.profile, desired.revision, made.reason
            )
        return made

    def limit(self, allowance: Allowance | None) -> None:
        """Hold at most what is allowed, whatever the profile says; None lifts the limit."""
        if isinstance(predecessor := self.predecessor, CorePool):
            predecessor.limit(allowance)
        with self.lock:
            before, self.allowance = self.allowance, allowance
            self.lapses = inf if allowance is None else allowance.lapses
        if allowance is not None and allowance.ends < inf:
            self._watch()
        if before is None or allowance is None or before.most != allowance.most:
            self._resize()

    @property
    def is_limited(self) -> bool:
        """Whether a budget, and not only the profile, says how much it may hold."""
        return self.allowance is not None

    def _resize(self) -> None:
        """More room serves those who wait already, less closes idle connections at once."""
        with self.lock:
            surplus = []
            while self.present > self.most and self.idle:
                surplus.append(slot := self.idle.popleft())
                leave(self, slot)
        see_off(self, surplus)
        self.grow()

    def grow(self) -> None:
        """Begin the connects that are wanted and that there is room for."""
        growing.grow(self)
        if self.retired and self.heir is not None:
            self.heir()

    def _lapse(self) -> None:
        if leasing.lapse(self):
            self._resize()

    def _watch(self) -> None:
        """Look at the lease now, and have the ticker do so whatever becomes of the agent that renews it."""
        self._lapse()
        at = leasing.look(self)
        with self.lock:
            if self.watched or not self.opened or at == inf:
                return
            self.watched = True
        ticker().at(at, self._moment)

    def _moment(self) -> None:
        self.watched = False
        if not self.retired or self.places:
            self._watch()

    # -- operations ---------------------------------------------------------------------------------------------------

    def load(self) -> Load:
        """What the pool holds and what is asked of it, at little cost; what its predecessor has still is included."""
        left = self.left_over()
        with self.lock:
            used = self.places if self.retired else len(self.out)
            return Load(self.places + left, used + left, len(self.waiting))

    def pause(self) -> None:
        """Stop checkouts: whoever asks waits, up to their own timeout."""
        with self.lock:
            self.paused = True

    def resume(self) -> None:
        """Allow checkouts, first to those who wait."""
        with self.lock:
            self.paused = False
            now = monotonic()
            while self.waiting and self.idle and now < self.lapses:
                self.hand_on(self.idle.pop(), now)
        self.grow()

    def recycle(self, timeout: float = 30.0) -> Recycled:
        """Replace every connection by a fresh one, for up to ``timeout`` seconds; used ones are replaced as they return."""
        return rounds.recycle(self, timeout)

    def drop_idle(self) -> int:
        """Close every idle connection; fresh ones come as they are wanted. Returns how many."""
        return rounds.drop_idle(self, lambda slot: True)

    def snapshot(self) -> PoolSnapshot:
        """What the pool looks like now."""
        return view.snapshot(self)

    # -- life ---------------------------------------------------------------------------------------------------------

    def begin(self, desired: Desired | None, allowance: Allowance | None, predecessor: Pool | None) -> None:
        """Before it opens, and before anybody knows of it: its settings, its limit and the pool that it comes after."""
        if desired is not None:
            self.desired, self.spec = desired, desired.spec
        self.allowance = allowance
        self.lapses = inf if allowance is None else allowance.lapses
        self.predecessor = predecessor if isinstance(predecessor, CorePool) else None

    def open(self) -> None:
        """Start the rounds and the first connects. Idempotent."""
        with self.lock:
            if self.opened or self.retired:
                return
            self.opened = True
        if isinstance(before := self.predecessor, CorePool):
            before.heir = self.grow
            before.retire()
        ticker().at(monotonic() + rounds.INTERVAL, self._round)
        self._watch()
        self.grow()

    def _round(self) -> None:
        if self.retired and not self.places:
            return
        try:
            rounds.look_after(self)
        except Exception:
            logger.exception("pool %r: housekeeping failed; it goes on in %s s", self.target, rounds.INTERVAL)
        finally:
            ticker().at(monotonic() + rounds.INTERVAL, self._round)

    def retire(self) -> None:
        """Connect no more, close what is idle now and what is used as it returns; whoever waits gets ``PoolClosed``."""
        with self.lock:
            self.retired = True
            waiting = list(self.waiting)
            self.waiting.clear()
        for place in waiting:
            place.fail(explain.closed(self))
        self._resize()

    def close(self, timeout: float = 5.0) -> None:
        """Retire, and wait for what is idle to be gone. What nobody will give back goes now too."""
        deadline = monotonic() + timeout
        self.retire()
        reclaiming.reclaim(self)
        with self.changed:
            while (self.closing or self.connecting) and (left := deadline - monotonic()) > 0:
                self.changed.wait(left)

    def disown(self) -> None:
        """In a forked child: be a closed pool, whose connections are the parent's and out of reach.

        The locks are new, since a thread that the child doesn't have may have held the old ones.
        """
        self.retired = True
        self.lock = RLock()
        self.changed = Condition(self.lock)
        inherited.let_go(self.driver, {*self.living, *self.leaving})
        self.idle, self.waiting, self.out = deque(), deque(), set()
