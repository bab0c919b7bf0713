"""A broker's pool as an immutable snapshot, and in the words of an error."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from poolmgr.metrics.snapshot import Holder, PoolSnapshot
from poolmgr.pools.core.explain import figures, holders
from poolmgr.pools.owners import name_of
from poolmgr.pools.snapshots import HOLDERS, recent, settings, status

if TYPE_CHECKING:
    from poolmgr.targets.kombu.pool import BrokerPool

_COUNTERS = ("timeouts", "created", "closed", "reclaimed", "leaks")


def snapshot(pool: BrokerPool) -> PoolSnapshot:
    """What it looks like now."""
    now = time.monotonic()
    load = pool.load()
    with pool.lock:
        held = sorted(pool.held.values(), key=lambda each: each.since)
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
        oldest_checkout=now - held[0].since if held else 0.0,
        holders=tuple(Holder(name_of(each.owner), now - each.since, 0) for each in held[:HOLDERS]),
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
