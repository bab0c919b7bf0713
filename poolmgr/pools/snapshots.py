"""What the snapshots of pools of every kind have in common."""

from __future__ import annotations

from typing import Any

from poolmgr.metrics.history import Totals
from poolmgr.pools.desired import Desired

#: As many holders as a snapshot tells, those who hold for the longest.
HOLDERS = 5


def status(retired: bool, paused: bool) -> str:
    return "closed" if retired else "paused" if paused else "open"


def settings(desired: Desired) -> dict[str, Any]:
    """The settings in force and where they come from, by the names of a snapshot's fields."""
    spec = desired.spec
    return {
        "pool_mode": spec.pool_mode,
        "profile": desired.profile,
        "revision": desired.revision,
        "min_size": spec.min_size,
        "max_size": spec.max_size,
        "connection_timeout": spec.connection_timeout,
        "settings": spec.to_dict(),
    }


def recent(now: Totals, before: Totals) -> dict[str, Any]:
    """What came since the totals of about a minute ago, by the names of a snapshot's fields."""
    (wait, use, timeouts, refused), (old_wait, old_use, old_timeouts, old_refused) = now, before
    waited = wait - old_wait
    return {
        "recent_wait_time": waited,
        "recent_use_time": use - old_use,
        "recent_timeouts": max(0, timeouts - old_timeouts),
        "recent_refused": max(0, refused - old_refused),
        "recent_checkouts": waited.count,
    }
