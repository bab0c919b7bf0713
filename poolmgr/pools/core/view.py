"""A pool as an immutable snapshot."""

from __future__ import annotations

import time
from typing import Any

from poolmgr.metrics.snapshot import Holder, PoolSnapshot
from poolmgr.pools.core.state import State
from poolmgr.pools.owners import name_of
from poolmgr.pools.snapshots import HOLDERS, recent, settings, status

_COUNTERS = (
    "timeouts", "checkout_errors", "created", "create_errors", "closed", "found_dead", "left_behind", "cleaned",
    "reclaimed", "leaks",
)  # fmt: skip


def snapshot(state: State) -> PoolSnapshot:
    """What ``state`` looks like now."""
    now = time.monotonic()
    with state.lock:
        held = [(slot.owner, slot.since, slot.pid, slot.conn) for slot in state.out]
        idle_ids = [slot.pid for slot in state.idle]
        counts: dict[str, Any] = {name: state.counts[name] for name in _COUNTERS}
        wait, use, create = (each.freeze() for each in (state.wait_time, state.use_time, state.create_time))
        before = state.history.since(now)
        opening = max(0, state.present - len(state.idle) - len(state.out))
        closing, pending, limit = len(state.leaving), len(state.waiting), state.most
        error, error_at = state.last_error, state.last_error_at
        generation, paused, retired = state.generation, state.paused, state.retired
        desired = state.desired
    held.sort(key=lambda each: each[1])
    return PoolSnapshot(
        target=state.target,
        kind=state.kind,
        address=state.address,
        at=time.time(),
        status=status(retired, paused),
        generation=generation,
        limit=limit,
        **settings(desired),
        idle=len(idle_ids),
        used=len(held),
        pending=pending,
        opening=opening,
        closing=closing,
        oldest_checkout=now - held[0][1] if held else 0.0,
        holders=tuple(
            Holder(name_of(owner), now - since, pid, state.driver.standing(conn))
            for owner, since, pid, conn in held[:HOLDERS]
        ),
        backend_pids=tuple(sorted(pid for pid in (*idle_ids, *(pid for _, _, pid, _ in held)) if pid)),
        checkouts=wait.count,
        wait_time=wait,
        use_time=use,
        create_time=create,
        **recent((wait, use, counts["timeouts"], 0), before),
        last_error="" if error is None else state.driver.diagnose(error).sentence,
        last_error_at=time.time() - (now - error_at) if error is not None else 0.0,
        **counts,
    )
