"""What the pools of this process have counted, and the fleet's totals don't have yet."""

from __future__ import annotations

from collections.abc import Mapping

from poolmgr.control.store import FleetStore
from poolmgr.control.store.reading import LONGEST_TARGET
from poolmgr.metrics.snapshot import PoolSnapshot
from poolmgr.metrics.totals import Gain, Sums, added, gained, sums_of
from poolmgr.pools.port import Pool
from poolmgr.targets.known import kind_named


class Gains:
    """What pools gain from one look to the next, for one thread at a time."""

    def __init__(self) -> None:
        self._seen: dict[Pool, Sums] = {}

    def look(self, pools: Mapping[Pool, PoolSnapshot]) -> dict[str, Sums]:
        """By target, what was counted since the last look, given the pools that are open."""
        found: dict[str, Sums] = {}
        # A pool that was closed since goes on counting until its last connection is gone.
        for pool in {**self._seen, **pools}:
            snapshot = pools.get(pool) or pool.snapshot()
            if not is_summed(snapshot):
                continue
            now = sums_of(snapshot)
            if more := gained(now, self._seen.get(pool, {})):
                found[pool.target] = added((found.get(pool.target, {}), more))
            self._seen[pool] = now
            if pool not in pools and not pool.load().held:
                del self._seen[pool]
        return found


class Tally:
    """For the thread of the agent. It outlives an agent that is started anew, since the pools do.

    A gain whose answer did not come may have been added or not: it is told again as it was, under the same number, before
    anything that came later.
    """

    def __init__(self) -> None:
        self._gains = Gains()
        self._number = 0
        self._pending: Gain | None = None

    def tell(self, store: FleetStore, uid: str, role: str, pools: Mapping[Pool, PoolSnapshot]) -> None:
        """Have the store add what the pools have gained, given those that are open. Raises ``StoreDown``.

        Always the same store: what one may have added already must not be told to another.
        """
        if self._pending is None and (sums := self._gains.look(pools)):
            self._number += 1
            self._pending = Gain(self._number, role, sums)
        if self._pending is not None:
            store.count(uid, self._pending)
            self._pending = None

    def tell_all(self, store: FleetStore, uid: str, role: str, pools: Mapping[Pool, PoolSnapshot]) -> None:
        """The same for a process that ends."""
        in_doubt = self._pending is not None
        self.tell(store, uid, role, pools)
        if in_doubt:
            self.tell(store, uid, role, pools)


def is_summed(pool: PoolSnapshot) -> bool:
    """A server that has its own pools tells no counters. What no row can name would fail each beat."""
    return not kind_named(pool.kind).elsewhere and len(pool.target) <= LONGEST_TARGET and pool.target.isprintable()
