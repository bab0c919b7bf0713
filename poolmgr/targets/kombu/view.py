"""A broker's pool as an immutable snapshot, and in the words of an error."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from poolmgr.metrics.snapshot import Holder, PoolSnapshot
from poolmgr.pools.core.explain import figures, holders
from poolmgr.pools.owners import name_of

if TYPE_CHECKING:
    from poolmgr.targets.kombu.pool import BrokerPool

_HOLDERS = 5
_COUNTERS = ("timeouts", "created", "closed", "reclaimed", "leaks")


def snapshot(pool: BrokerPool) -> PoolSnapshot:
    """What it looks like now."""
    now = time.monotonic()
    load = pool.load()
    with pool.lock:
        held = sorted(pool.held.values(), key=lambda each: each.since)
        counts: dict[str, Any] = {name: pool.counts[name] for name in _COUNTERS}
        wait, use = pool.wait_time.freeze(), pool.use_time.freeze()
        old_wait, old_use, old_timeouts, _ = pool.history.since(now)
        desired, spec, generation = pool.desired, pool.spec, pool.generation
    recent_wait = wait - old_wait
    return PoolSnapshot(
        target=pool.target,
        kind=pool.kind,
        address=pool.address,
        at=time.time(),
        status="closed" if pool.retired else "open",
        pool_mode=spec.pool_mode,
        profile=desired.profile,
        revision=desired.revision,
        generation=generation,
        min_size=spec.min_size,
        max_size=spec.max_size,
        limit=spec.max_size,
        connection_timeout=spec.connection_timeout,
        settings=spec.to_dict(),
        idle=load.held - load.used,
        used=load.used,
        pending=load.pending,
        oldest_checkout=now - held[0].since if held else 0.0,
        holders=tuple(Holder(name_of(each.owner), now - each.since, 0) for each in held[:_HOLDERS]),
        checkouts=wait.count,
        wait_time=wait,
        use_time=use,
        recent_wait_time=recent_wait,
        recent_use_time=use - old_use,
        recent_timeouts=max(0, counts["timeouts"] - old_timeouts),
        recent_checkouts=recent_wait.count,
        **counts,
    )


def exhausted(pool: BrokerPool, waited: float) -> str:
    """Why nothing was to be had within ``waited`` seconds."""
    seen = snapshot(pool)
    return f"no connection to {pool.target!r} within {waited:g} s: pool exhausted ({figures(seen)}){holders(seen)}"
