"""Several pools of one target in a process, such as one for each event loop or node, that are one to all who manage it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Hashable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import chain
from threading import Lock
from time import monotonic, time

from poolmgr.exceptions import ConfigurationError
from poolmgr.metrics.history import History, Totals
from poolmgr.metrics.snapshot import PoolSnapshot
from poolmgr.metrics.uses import TOLD, summed
from poolmgr.pools import registry
from poolmgr.pools.allowance import NOTHING, Allowance
from poolmgr.pools.checkouts import Checkout
from poolmgr.pools.core.ticker import ticker
from poolmgr.pools.desired import Desired
from poolmgr.pools.groups import summing
from poolmgr.pools.groups.gathering import Gathering
from poolmgr.pools.plan import Plan, plan
from poolmgr.pools.port import Member, Pool, Recycled
from poolmgr.pools.snapshots import recent, settings, status
from poolmgr.pools.spec import PoolSpec

logger = logging.getLogger("poolmgr.pool")

#: Seconds between two looks at the members.
_INTERVAL = 1.0


def join(target: str, key: Hashable, make: Callable[[], Member], kind: str, bootstrap: PoolSpec) -> Member:
    """The pool by this key in the group of ``target``; both are made when there is none, the pool by ``make``.

    Raises ``ConfigurationError`` where the target has a pool that is no group.
    """
    found = registry.get_or_make(target, lambda: Group(kind, target, bootstrap))
    if not isinstance(found, Group):
        raise ConfigurationError(
            f"the target {target!r} has another pool in this process; give each a name of its own, or use one"
        )
    return found.join(key, make)


def end_if_empty(target: str) -> None:
    """Close the group of ``target`` where nobody is left in it, so that who comes next begins with settings of their own."""
    found = registry.get(target)
    if isinstance(found, Group) and not found.members:
        registry.close(target)


class Group(Gathering):
    """One pool to the registry, the agent, the budget and the pages. Each member has a key, and comes and goes.

    Settings, pauses and recycles reach all members, also those that come later. ``max_size`` and the lease are those of all
    together: a share goes to each by demand, and what it must give back counts until it is gone. ``min_size`` is all
    members' together too, and so is ``max_waiting``, which is looked at without a lock.
    """

    def __init__(self, kind: str, target: str, bootstrap: PoolSpec) -> None:
        super().__init__(target, bootstrap)
        self.kind = kind
        self.bootstrap = bootstrap
        self._generation = 1
        self._history = History()
        self._told = self._problem_before = ""  # of the problem, to the log
        registry.born(self)

    def __repr__(self) -> str:
        return f"<group of {len(self._members)} {self.kind} pools {self.target!r}>"

    # -- settings and operations --------------------------------------------------------------------------------------

    def apply(self, desired: Desired) -> Plan:
        """Follow new settings in place; no connection is replaced and nobody fails."""
        with self._lock:
            made = plan(self.spec, desired.spec)
            self.desired, self.spec = desired, desired.spec
            for each in self._members:
                each.pool.apply(desired)
            self._share_out()
        return made

    def limit(self, allowance: Allowance | None) -> None:
        """Hold at most what is allowed in all members together, whatever the settings say; None lifts the limit."""
        with self._lock:
            if self._predecessor is not None:
                self._predecessor.limit(allowance)
            self._allowance = allowance
            for each in self._members:
                if not each.is_open:
                    each.allow(replace(allowance or NOTHING, most=0), monotonic())
            self._share_out()

    @property
    def is_limited(self) -> bool:
        """Whether a budget, and not only the settings, says how much it may hold."""
        return self._allowance is not None

    @property
    def address(self) -> str:
        """Where its members connect to, for people; while there is none, where the last one did."""
        return summing.address(each.pool.address for each in self._members) or self._last_address

    def pause(self) -> None:
        """Stop checkouts in every member; requests wait up to their own timeout."""
        with self._lock:
            self.paused = True
            for each in self._members:
                each.pool.pause()

    def resume(self) -> None:
        """Allow checkouts again."""
        with self._lock:
            self.paused = False
            for each in self._members:
                each.pool.resume()

    def recycle(self, timeout: float = 30.0) -> Recycled:
        """Replace every connection by a fresh one, for up to ``timeout`` seconds, in all members at once."""
        with self._lock:
            self._generation += 1
            members = [each.pool for each in self._members if each.is_open]
        if not members:
            return Recycled(0, 0)
        with ThreadPoolExecutor(len(members), thread_name_prefix="poolmgr-recycle") as threads:
            done = list(threads.map(lambda each: each.recycle(timeout), members))
        failed = dict.fromkeys(each.failed for each in done if each.failed)
        return Recycled(sum(each.replaced for each in done), sum(each.remaining for each in done), "; ".join(failed))

    def snapshot(self) -> PoolSnapshot:
        """What all of it looks like now."""
        with self._lock:
            parts, gone = [each.pool.snapshot() for each in self._members], self._gone
            now = monotonic()
            room, before = self._room, self._history.since(now)
            uses = [self._uses_of_gone.told(now), *(each.uses for each in parts)]
            desired = self.desired
        counts = summing.counted([gone, *parts])
        return PoolSnapshot(
            target=self.target,
            kind=self.kind,
            address=summing.address(each.address for each in parts) or self._last_address,
            at=time(),
            status=status(self.retired, self.paused),
            generation=self._generation,
            limit=room,
            uses=summed(chain.from_iterable(uses), TOLD),
            **settings(desired),
            **summing.present(parts),
            **recent(summing.totals(counts), before),
            **counts,
        )

    def find_checkout(self, name: str) -> Checkout | None:
        """The checkout that a snapshot's holder names, if it is under way, of whichever member."""
        found = (each.pool.find_checkout(name) for each in self._members)
        return next((each for each in found if each is not None), None)

    # -- life ---------------------------------------------------------------------------------------------------------

    def begin(self, desired: Desired | None, allowance: Allowance | None, predecessor: Pool | None) -> None:
        """Before it opens, and before anybody knows of it: its settings, its limit and the pool that it comes after."""
        if desired is not None:
            self.desired, self.spec = desired, desired.spec
        self._allowance = allowance
        self._predecessor = predecessor

    def open(self) -> None:
        """Look after the members, and have them open. Idempotent."""
        with self._lock:
            if self.opened or self.retired:
                return
            self.opened = True
            if self._predecessor is not None:
                self._predecessor.retire()
            members = self._members
        ticker().at(monotonic() + _INTERVAL, self._round)
        for each in members:
            each.pool.open()

    def _round(self) -> None:
        try:
            with self._lock:
                self._share_out()
                self._history.keep(monotonic(), self._totals)
            self._tell_of_problem()
        except Exception:
            logger.exception("pool %r: sharing out failed; it goes on in %g s", self.target, _INTERVAL)
        finally:
            if not self.retired or self._members:
                ticker().at(monotonic() + _INTERVAL, self._round)

    def _tell_of_problem(self) -> None:
        """To the log, once; not of one that the next lease has ended already."""
        before, self._problem_before = self._problem_before, self.problem
        if self.problem == before and self.problem != self._told:
            self._told = self.problem
            if self.problem:
                logger.warning("%s", self.problem)

    def _totals(self) -> Totals:
        return summing.totals(summing.counted([self._gone, *(each.pool.snapshot() for each in self._members)]))

    def retire(self) -> None:
        """Close all members: what is idle now, and what is used as it returns; whoever waits is told."""
        with self._lock:
            self.retired = True
            for each in self._members:
                each.parting = True
            self._share_out()

    def close(self, timeout: float = 5.0) -> None:
        """Retire, and wait up to ``timeout`` seconds for what is idle to be gone."""
        deadline = monotonic() + timeout
        self.retire()
        for each in self._members:
            each.pool.close(max(0.0, deadline - monotonic()))

    def disown(self) -> None:
        """In a forked child: be a closed pool without members, which are disowned as every pool is.

        The lock is new, since a thread that the child doesn't have may have held the old one.
        """
        self.retired = True
        self._lock = Lock()
        self._members = ()
        self._is_stirred = self._looks_again = False
