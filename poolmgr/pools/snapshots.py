"""What the snapshots of pools of every kind have in common."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from poolmgr.metrics.history import Totals
from poolmgr.metrics.snapshot import Holder
from poolmgr.pools.desired import Desired
from poolmgr.pools.owners import name_of

About = TypeVar("About")

#: As many holders as a snapshot tells, those who hold for the longest.
HOLDERS = 5


def status(retired: bool, paused: bool) -> str:
    return "closed" if retired else "paused" if paused else "open"


def checked_out(
    held: Iterable[tuple[Any, float, int, About]], now: float, told: Callable[[About], str]
) -> dict[str, Any]:
    """Who holds connections, by the names of a snapshot's fields.

    ``held`` has of each its owner, since when it is out, the server's number for it, and what ``told()`` says why it stays.
    """
    first = sorted(held, key=lambda each: each[1])[:HOLDERS]
    return {
        "oldest_checkout": now - first[0][1] if first else 0.0,
        "holders": tuple(Holder(name_of(owner), now - since, pid, told(about)) for owner, since, pid, about in first),
    }


def failure(sentence: str, seconds_ago: float) -> dict[str, Any]:
    """The last failed connect while none has succeeded since, by the names of a snapshot's fields."""
    return {"last_error": sentence, "last_error_at": time.time() - seconds_ago if sentence else 0.0}


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
