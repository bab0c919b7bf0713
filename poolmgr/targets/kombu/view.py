"""A broker's pool as an immutable snapshot, and in the words of an error."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from poolmgr.metrics.snapshot import PoolSnapshot
from poolmgr.pools.core.explain import figures, holders
from poolmgr.pools.snapshots import checked_out, recent, settings, status

if TYPE_CHECKING:
    from poolmgr.targets.kombu.pool import BrokerPool

_COUNTERS = ("timeouts", "created", "closed", "reclaimed", "leaks")


def snapshot(pool: BrokerPool) -> PoolSnapshot:
    """What it looks like now."""
    now = time.monotonic()
    load = pool.load()
    with pool.lock:
        held = [(each.owner, each.since, 0, "") for each in pool.held.values()]
        counts: dict[str, Any] = {name: pool.counts[name] for name in _COUNTERS}
        wait, use = pool.wait_time.freeze(), pool.use_time.freeze()
        before = pool.history.since(now)
        desired, generation = pool.desired, pool.generation
    return PoolSnapshot(
        target=pool.target,
        kind=pool.kind,
        address=pool.address,
        at=time.time(),
        status=status(pool.retired, pool.paused),
        generation=generation,
        limit=desired.spec.max_size,
        **settings(desired),
        idle=load.held - load.used,
        used=load.used,
        pending=load.pending,
        **checked_out(held, now, str),
        checkouts=wait.count,
        wait_time=wait,
        use_time=use,
        **recent((wait, use, counts["timeouts"], 0), before),
        **counts,
    )


def exhausted(pool: BrokerPool, waited: float) -> str:
    """Why nothing was to be had within ``waited`` seconds."""
    seen = snapshot(pool)
    return f"no connection to {pool.target!r} within {waited:g} s: pool exhausted ({figures(seen)}){holders(seen)}"
