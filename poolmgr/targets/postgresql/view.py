"""A pool as an immutable snapshot."""

from __future__ import annotations

import time

from poolmgr.metrics.snapshot import Holder, PoolSnapshot
from poolmgr.pools.diagnosis import diagnose
from poolmgr.pools.owners import name_of
from poolmgr.targets.postgresql.state import PoolState

HOLDERS = 5


def snapshot(state: PoolState) -> PoolSnapshot:
    """What ``state`` looks like now."""
    pool, now = state.pool, time.monotonic()
    with pool._lock:
        held = [
            (c.entry.owner, c.entry.since, c.entry.pid, tuple(c.entry.pins))
            for c in state.out
            if c.entry.owner is not None
        ]
        idle_pids = [conn.entry.pid for conn in pool._pool]
        counts, pins = dict(state.counts), dict(state.pins)
        wait, use, create = (each.freeze() for each in (state.wait_time, state.use_time, state.create_time))
        old_wait, old_use, old_timeouts, old_refused = state.history.since(now)
        opening = max(0, pool.present - len(pool._pool) - len(state.out) - len(pool.resting))
        closing, left_behind = len(pool.leaving), pool.left_behind
        pending, limit = len(pool._waiting), pool._max_size
        error, error_at = pool.last_error, pool.last_error_at
    held.sort(key=lambda each: each[1])
    status = "closed" if state.retired else "paused" if pool.paused else "open"
    recent_wait = wait - old_wait
    return PoolSnapshot(
        target=state.target,
        kind=state.kind,
        address=state.address,
        at=time.time(),
        status=status,
        pool_mode=state.spec.pool_mode,
        profile=state.desired.profile,
        revision=state.desired.revision,
        generation=pool.generation,
        min_size=state.spec.min_size,
        max_size=state.spec.max_size,
        limit=limit,
        connection_timeout=state.spec.connection_timeout,
        settings=state.spec.to_dict(),
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
        last_error="" if error is None else diagnose(error).sentence,
        last_error_at=time.time() - (now - error_at) if error is not None else 0.0,
    )
