"""A broker's pool as an immutable snapshot, and in the words of an error."""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING, Any

from poolmgr.metrics.snapshot import PoolSnapshot
from poolmgr.pools.checkouts import Checkout, LeftAlone
from poolmgr.pools.core.explain import figures, holders
from poolmgr.pools.snapshots import Held, checked_out, failure, holder, recent, settings, status
from poolmgr.targets.kombu import holding
from poolmgr.targets.kombu.kind import KOMBU

if TYPE_CHECKING:
    from poolmgr.targets.kombu.watching import Watching

_COUNTERS = ("timeouts", "created", "create_errors", "closed", "left_behind", "reclaimed", "leaks")


def snapshot(pool: Watching, uses: bool = True) -> PoolSnapshot:
    """What it looks like now; without ``uses`` for whom it was used is not counted up."""
    now = time.monotonic()
    idle, used, closing = pool.figures()
    with pool.lock:
        held = [_held(each) for each in pool.held.values()]
        counts: dict[str, Any] = {name: pool.counts[name] for name in _COUNTERS}
        wait, use, create = (each.freeze() for each in (pool.wait_time, pool.use_time, pool.create_time))
        error, error_at = pool.last_error, pool.last_error_at
        before = pool.history.since(now)
        desired, generation = pool.desired, pool.generation
        pending, first = pool.pending, min(pool.asking, default=now)
        missed = pool.misses.told(now, counts["timeouts"])
    return PoolSnapshot(
        target=pool.target,
        kind=pool.kind,
        address=pool.address,
        at=time.time(),
        status=status(pool.retired, pool.paused),
        generation=generation,
        limit=desired.spec.max_size,
        **settings(desired),
        idle=idle,
        used=used,
        pending=pending,
        oldest_wait=now - first if pending else 0.0,
        closing=closing,
        **checked_out(held, now),
        checkouts=wait.count - counts["timeouts"],
        wait_time=wait,
        use_time=use,
        uses=pool.uses.told(now) if uses else (),
        create_time=create,
        **missed,
        **recent((wait, use, counts["timeouts"], 0), before),
        **failure(error, now - error_at),
        **counts,
    )


def _held(each: holding.Held) -> Held:
    return Held(each.owner, each.label, each.since, 0, checkout=each.checkout)


def checkout(pool: Watching, name: str) -> Checkout | None:
    """The one of this name, if it is under way."""
    with pool.lock:
        found = next((_held(each) for each in pool.held.values() if each.checkout == name), None)
    if found is None:
        return None
    told = holder(found, time.monotonic(), {})
    return Checkout(told, found.owner, partial(_refuse, "cancel"), partial(_refuse, "end"))


def _refuse(order: str) -> None:
    raise LeftAlone(KOMBU.denies[order])


def exhausted(pool: Watching, waited: float) -> str:
    """Why nothing was to be had within ``waited`` seconds."""
    seen = snapshot(pool, uses=False)
    return f"no connection to {pool.target!r} within {waited:g} s: pool exhausted ({figures(seen)}){holders(seen)}"
