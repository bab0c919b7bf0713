"""A pool as an immutable snapshot."""

from __future__ import annotations

import time

from poolmgr.metrics.snapshot import Holder, PoolSnapshot
from poolmgr.pools.diagnosis import diagnose
from poolmgr.pools.owners import name_of
from poolmgr.pools.snapshots import HOLDERS, recent, settings, status
from poolmgr.targets.postgresql.state import PoolState


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
        before = state.history.since(now)
        opening = max(0, pool.present - len(pool._pool) - len(state.out) - len(pool.resting))
        closing, left_behind = len(pool.leaving), pool.left_behind
        pending, limit = len(pool._waiting), pool._max_size
        error, error_at = pool.last_error, pool.last_error_at
    held.sort(key=lambda each: each[1])
    return PoolSnapshot(
        target=state.target,
        kind=state.kind,
        address=state.address,
        at=time.time(),
        status=status(state.retired, pool.paused),
        generation=pool.generation,
        limit=limit,
        **settings(state.desired),
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
        **recent((wait, use, counts.get("timeouts", 0), counts.get("refused", 0)), before),
        last_error="" if error is None else diagnose(error).sentence,
        last_error_at=time.time() - (now - error_at) if error is not None else 0.0,
    )
