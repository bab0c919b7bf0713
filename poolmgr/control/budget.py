"""This process's shares of the fleet's budgets."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from time import monotonic

from poolmgr.conf import conf
from poolmgr.control.store.base import Claim, Leases
from poolmgr.metrics.snapshot import PoolSnapshot
from poolmgr.pools import registry
from poolmgr.pools.managed import ManagedPool

#: What a process takes without asking: with nothing it could not serve, or even ask whom to wait for. More processes
#: than the budget has connections exceed it, which the verdict then says.
FLOOR = 1
#: Seconds for which a process keeps the room of its last peak before it gives it back.
KEEP = 30.0


class Budget:
    """Keeps each pool's limit at what the fleet grants. Used by the agent's thread."""

    def __init__(self, uid: str) -> None:
        self._uid = uid
        self._limits: dict[str, int] = {}
        self._peaks: dict[str, deque[tuple[float, int]]] = {}
        self._shares: dict[str, tuple[int, float]] = {}

    def start(self, budgets: Mapping[str, int]) -> None:
        """Hold every pool that has a budget to the floor until the first answer; never blocks."""
        self._set({target: FLOOR for target, budget in budgets.items() if budget})

    @property
    def targets(self) -> tuple[str, ...]:
        return tuple(self._limits)

    def hungry(self) -> bool:
        """True while requests wait in a pool that only the budget keeps from growing."""
        return any(
            seen.pending and seen.limit < seen.max_size for seen in (pool.snapshot() for pool in self._budgeted())
        )

    def lease(self, leases: Leases) -> None:
        """Renew, grow or shrink each lease. Raises ``StoreDown``; then every pool keeps what it has."""
        self._drop_others()
        for pool in self._budgeted():
            seen = pool.snapshot()
            want = min(pool.spec.max_size, max(FLOOR, pool.spec.min_size, self._peak(seen)))
            if pool.target not in self._limits:
                # Not asked for anything yet: whatever comes back, the pool must not grow until then.
                self._set({**self._limits, pool.target: max(FLOOR, min(want, seen.size))})
            elif want < self._limits[pool.target]:
                # Shrink first, then say so: the others may use the room as soon as the lease says that it is free.
                self._set({**self._limits, pool.target: want})
            granted = leases.renew(self._claim(pool, want))
            if granted < self._limits[pool.target]:
                self._set({**self._limits, pool.target: max(FLOOR, granted)})
                granted = leases.renew(self._claim(pool, want))
            self._set({**self._limits, pool.target: max(FLOOR, granted)})

    def share(self, uids: Callable[[str], tuple[str, ...]]) -> None:
        """Without leases: an equal share each. ``uids`` tells which live processes have a pool to a target.

        A smaller share counts at once; a larger one when every other process has had the time to see the same fleet.
        """
        self._drop_others()
        now = monotonic()
        patience = 2 * max(conf().POLL_INTERVAL, conf().HEARTBEAT_INTERVAL)
        for pool in self._budgeted():
            share = even_share(pool.spec.budget, self._uid, uids(pool.target))
            known, since = self._shares.get(pool.target, (-1, now))
            if share != known:
                since = now
            self._shares[pool.target] = (share, since)
            current = self._limits.get(pool.target, FLOOR)
            if share < current or now - since >= patience:
                current = share
            self._set({**self._limits, pool.target: max(FLOOR, current)})

    def _budgeted(self) -> tuple[ManagedPool, ...]:
        return tuple(pool for pool in registry.pools() if pool.spec.budget)

    def _claim(self, pool: ManagedPool, want: int) -> Claim:
        seen = pool.snapshot()
        return Claim(pool.target, self._uid, self._limits[pool.target], seen.size, want, pool.spec.budget)

    def _peak(self, seen: PoolSnapshot) -> int:
        now = monotonic()
        peaks = self._peaks.setdefault(seen.target, deque())
        peaks.append((now, seen.used + seen.pending))
        while peaks[0][0] < now - KEEP:
            peaks.popleft()
        return max(demand for _, demand in peaks)

    def _drop_others(self) -> None:
        """Lift the limits of pools whose budget was taken away."""
        unlimited = {pool.target for pool in registry.pools() if not pool.spec.budget}
        self._set({target: limit for target, limit in self._limits.items() if target not in unlimited})

    def _set(self, limits: dict[str, int]) -> None:
        if limits != self._limits:
            self._limits = limits
            registry.set_limits(limits)


def even_share(budget: int, uid: str, uids: tuple[str, ...]) -> int:
    """The budget divided among ``uids``; the first in order share the remainder, so that the sum is the budget."""
    everyone = sorted({*uids, uid})
    whole, rest = divmod(budget, len(everyone))
    return whole + (everyone.index(uid) < rest)
