"""CorePool: the port, checkout and return, on the parts beside it."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from functools import partial
from math import inf
from threading import Condition, RLock
from time import monotonic

from poolmgr.metrics.snapshot import PoolSnapshot
from poolmgr.pools import registry
from poolmgr.pools.allowance import Allowance
from poolmgr.pools.checkouts import Checkout
from poolmgr.pools.core import explain, growing, leasing, reclaiming, rounds, view
from poolmgr.pools.core.driver import Driver
from poolmgr.pools.core.leaving import resize
from poolmgr.pools.core.lending import Lending
from poolmgr.pools.core.slot import Slot
from poolmgr.pools.core.ticker import ticker
from poolmgr.pools.desired import Desired
from poolmgr.pools.inherited import let_go
from poolmgr.pools.plan import Action, Plan, plan
from poolmgr.pools.port import Load, Pool, Recycled
from poolmgr.pools.spec import PoolSpec

logger = logging.getLogger("poolmgr.pool")


class CorePool(Lending):
    """One process's pool to one target, on a driver. A kind's own pool class puts its library's words on it."""

    def __init__(self, kind: str, target: str, bootstrap: PoolSpec, driver: Driver, address: str = "") -> None:
        super().__init__(kind, target, bootstrap, driver, address)
        registry.born(self)

    def __repr__(self) -> str:
        seen = self.snapshot()
        return f"<{self.kind} pool {self.target!r}: {seen.used} in use, {seen.idle} idle, {seen.pending} waiting>"

    # -- settings -----------------------------------------------------------------------------------------------------

    def apply(self, desired: Desired) -> Plan:
        """Follow new settings in place; no connection is replaced and nobody fails."""
        with self.lock:
            made = plan(self.spec, desired.spec)
            self.follow(desired)
            if "max_lifetime" in made.changes:
                for slot in self.living:
                    self.set_expiry(slot)
        if made.action is Action.RESIZE:
            resize(self)
        return made

    def limit(self, allowance: Allowance | None) -> None:
        """Hold at most what is allowed, whatever the profile says; None lifts the limit."""
        if isinstance(predecessor := self.predecessor, CorePool):
            predecessor.limit(allowance)
        with self.lock:
            before = self.allowance
            self.allow(allowance)
        if allowance is not None and allowance.ends < inf:
            self._watch()
        if before is None or allowance is None or before.most != allowance.most:
            resize(self)

    @property
    def is_limited(self) -> bool:
        """Whether a budget, and not only the profile, says how much it may hold."""
        return self.allowance is not None

    def grow(self) -> None:
        """Begin the connects that are wanted and that there is room for."""
        growing.grow(self)
        if self.retired and self.heir is not None:
            self.heir()
        if self.peers is not None:
            self.peers.stir()

    def _watch(self) -> None:
        """Look at the lease now, and have the ticker do so whatever becomes of the agent that renews it."""
        leasing.lapse(self)
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
            self.misses.pause(monotonic(), self.counts["timeouts"])

    def resume(self) -> None:
        """Allow checkouts, first to those who wait."""
        with self.lock:
            self.paused = False
            self.misses.resume()
            now = monotonic()
            while self.waiting and self.idle and now < self.lapses:
                self.hand_on(self.idle.pop(), now)
        self.grow()

    def recycle(self, timeout: float = 30.0) -> Recycled:
        """Replace every connection by a fresh one, for up to ``timeout`` seconds; used ones are replaced as they return."""
        return rounds.recycle(self, timeout)

    def drop_idle(self, wanted: Callable[[Slot], bool] = lambda slot: True) -> int:
        """Close every idle connection, or those that ``wanted`` names; fresh ones come as needed. Returns how many."""
        return rounds.drop_idle(self, wanted)

    def snapshot(self) -> PoolSnapshot:
        """What the pool looks like now."""
        return view.snapshot(self)

    def find_checkout(self, name: str) -> Checkout | None:
        """The checkout that a snapshot's holder names, if it is under way."""
        return view.checkout(self, name)

    # -- life ---------------------------------------------------------------------------------------------------------

    def begin(self, desired: Desired | None, allowance: Allowance | None, predecessor: Pool | None) -> None:
        """Before it opens, and before anybody knows of it: its settings, its limit and the pool that it comes after."""
        if desired is not None:
            self.follow(desired)
        self.allow(allowance)
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
        resize(self)
        self.workers.dismiss()
        self.closers.dismiss()

    def close(self, timeout: float = 5.0) -> None:
        """Retire, and wait for what is idle to be gone. What nobody will give back goes now too."""
        deadline = monotonic() + timeout
        self.retire()
        reclaiming.reclaim(self)
        with self.changed:
            while (self.leaving or self.connecting) and (left := deadline - monotonic()) > 0:
                self.changed.wait(left)

    def disown(self) -> None:
        """In a forked child: be a closed pool, whose connections are the parent's and out of reach.

        The locks are new, since a thread that the child doesn't have may have held the old ones.
        """
        self.retired = True
        self.lock = RLock()
        self.changed = Condition(self.lock)
        for slot in {*self.living, *self.leaving}:
            let_go(slot, partial(self.driver.fileno, slot.conn), slot)
        self.idle, self.waiting, self.out = deque(), deque(), set()
        # They are no places of this process, which its own pool would have to do without.
        self.places = 0
        self.leaving = set()
        self.connecting.clear()
