"""A pool as an immutable snapshot."""

from __future__ import annotations

import time
from typing import Any

from poolmgr.metrics.snapshot import PoolSnapshot
from poolmgr.pools.diagnosis import diagnose
from poolmgr.pools.snapshots import checked_out, failure, recent, settings, status
from poolmgr.targets.postgresql.state import PoolState

_COUNTERS = (
    "timeouts", "checkout_errors", "created", "create_errors", "closed", "found_dead", "cleaned", "reclaimed", "leaks",
    "refused",
)  # fmt: skip


def snapshot(state: PoolState) -> PoolSnapshot:
    """What ``state`` looks like now."""
    pool, now = state.pool, time.monotonic()
    with pool._lock:
        entries = [conn.entry for conn in state.out if conn.entry.owner is not None]
        held = [(entry.owner, entry.since, entry.pid, tuple(entry.pins)) for entry in entries]
        idle_pids = [conn.entry.pid for conn in pool._pool]
        counts: dict[str, Any] = {name: state.counts[name] for name in _COUNTERS}
        pins = dict(state.pins)
        wait, use, create = (each.freeze() for each in (state.wait_time, state.use_time, state.create_time))
        before = state.history.since(now)
        opening = max(0, pool.present - len(pool._pool) - len(state.out) - len(pool.resting))
        closing, left_behind = len(pool.leaving), pool.left_behind
        pending, limit = len(pool._waiting), pool._max_size
        error, error_at = pool.last_error, pool.last_error_at
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
        **checked_out(held, now, lambda pins: ", ".join(sorted(pins))),
        backend_pids=tuple(sorted(pid for pid in (*idle_pids, *(pid for _, _, pid, _ in held)) if pid)),
        behind_pooler=pool.behind_pooler,
        checkouts=wait.count,
        left_behind=left_behind,
        pins=pins,
        wait_time=wait,
        use_time=use,
        create_time=create,
        **recent((wait, use, counts["timeouts"], counts["refused"]), before),
        **failure("" if error is None else diagnose(error).sentence, now - error_at),
        **counts,
    )
