"""A pool as an immutable snapshot."""

from __future__ import annotations

import time
from collections import deque
from typing import TYPE_CHECKING

from poolmgr.metrics.histogram import Distribution
from poolmgr.metrics.snapshot import Holder, PoolSnapshot
from poolmgr.pools import explain
from poolmgr.pools.owners import name_of

if TYPE_CHECKING:
    from poolmgr.pools.managed import ManagedPool

#: How far back the "recent" figures reach, and how finely that is kept, in seconds.
WINDOW = 60.0
STEP = 10.0
HOLDERS = 5


class History:
    """Totals of the last minute, so that recent figures are a subtraction. Guarded by the pool's lock."""

    def __init__(self) -> None:
        self._past: deque[tuple[float, Distribution, Distribution, int, int]] = deque()

    def note(self, managed: ManagedPool, now: float) -> None:
        """Count what was noted since; keep the totals of now, if the last ones are old enough."""
        with managed.pool._lock:
            managed.wait_time.count()
            managed.use_time.count()
            if not self._past or now - self._past[-1][0] >= STEP:
                wait, use = managed.wait_time.freeze(), managed.use_time.freeze()
                counts = managed.counts
                self._past.append((now, wait, use, counts["timeouts"], counts["refused"]))
            while len(self._past) > 1 and now - self._past[1][0] >= WINDOW:
                self._past.popleft()

    def since(self, now: float) -> tuple[Distribution, Distribution, int, int]:
        """The totals of about a minute ago; zeros while the pool is younger than that."""
        if not self._past or now - self._past[0][0] < WINDOW - STEP:
            return Distribution(), Distribution(), 0, 0
        return self._past[0][1:]


def snapshot(managed: ManagedPool) -> PoolSnapshot:
    """What ``managed`` looks like now."""
    pool, now = managed.pool, time.monotonic()
    with pool._lock:
        held = [
            (c.entry.owner, c.entry.since, c.entry.pid, tuple(c.entry.pins))
            for c in managed.out
            if c.entry.owner is not None
        ]
        idle_pids = [conn.entry.pid for conn in pool._pool]
        counts, pins = dict(managed.counts), dict(managed.pins)
        wait, use, create = (each.freeze() for each in (managed.wait_time, managed.use_time, managed.create_time))
        old_wait, old_use, old_timeouts, old_refused = managed.history.since(now)
        opening = max(0, pool.present - len(pool._pool) - len(managed.out) - len(pool.resting))
        closing, left_behind = len(pool.leaving), pool.left_behind
        pending, limit = len(pool._waiting), pool._max_size
        error, error_at = pool.last_error, pool.last_error_at
    held.sort(key=lambda each: each[1])
    status = "closed" if managed.retired else "paused" if pool.paused else "open"
    recent_wait = wait - old_wait
    return PoolSnapshot(
        target=managed.target,
        address=managed.address,
        at=time.time(),
        status=status,
        pool_mode=managed.spec.pool_mode,
        profile=managed.desired.profile,
        revision=managed.desired.revision,
        generation=pool.generation,
        min_size=managed.spec.min_size,
        max_size=managed.spec.max_size,
        limit=limit,
        connection_timeout=managed.spec.connection_timeout,
        settings=managed.spec.to_dict(),
        idle=len(idle_pids),
        used=len(held),
        pending=pending,
        opening=opening,
        closing=closing,
        oldest_checkout=now - held[0][1] if held else 0.0,
        holders=tuple(
            Holder(name_of(owner), now - since, pid, ", ".join(sorted(reasons)))
            for owner, since, pid, reasons in held[:HOLDERS]
        ),
        backend_pids=tuple(sorted([*idle_pids, *(pid for _, _, pid, _ in held)])),
        checkouts=wait.count,
        timeouts=counts.get("timeouts", 0),
        checkout_errors=counts.get("checkout_errors", 0),
        created=counts.get("created", 0),
        create_errors=counts.get("create_errors", 0),
        closed=counts.get("closed", 0),
        found_dead=counts.get("found_dead", 0),
        left_behind=left_behind,
        cleaned=counts.get("cleaned", 0),
        reclaimed=counts.get("reclaimed", 0),
        leaks=counts.get("leaks", 0),
        refused=counts.get("refused", 0),
        pins=pins,
        wait_time=wait,
        use_time=use,
        create_time=create,
        recent_wait_time=recent_wait,
        recent_use_time=use - old_use,
        recent_timeouts=max(0, counts.get("timeouts", 0) - old_timeouts),
        recent_refused=max(0, counts.get("refused", 0) - old_refused),
        recent_checkouts=recent_wait.count,
        last_error=explain.last_error(managed),
        last_error_at=time.time() - (now - error_at) if error is not None else 0.0,
    )
