"""What the snapshots of pools of every kind have in common."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from poolmgr.metrics import slots
from poolmgr.metrics.history import Totals
from poolmgr.metrics.snapshot import Holder
from poolmgr.pools.desired import Desired
from poolmgr.pools.labels import Label
from poolmgr.pools.owners import name_of

#: What a holder is at whose checkout was broken off, and who has yet to hear of that.
ENDED = "ended"
#: As many holders as a snapshot tells, those who hold for the longest.
HOLDERS = 5


def status(retired: bool, paused: bool) -> str:
    return "closed" if retired else "paused" if paused else "open"


class Held(NamedTuple):
    """A checkout: since when by the monotonic clock, the server's number for its end, and what the kind knows of it.

    ``state`` and ``checkout`` are as a snapshot's holder has them.
    """

    owner: Any
    label: Label | None
    since: float
    pid: int
    about: Any = None
    state: str = ""
    checkout: str = ""


def nothing(about: Any) -> dict[str, str]:
    """Of a kind that knows nothing more of a checkout."""
    return {}


def checked_out(held: Iterable[Held], now: float, told: Callable[[Any], dict[str, str]] = nothing) -> dict[str, Any]:
    """Who holds connections, by the names of a snapshot's fields; ``told()`` puts ``about`` into those of a holder."""
    held = sorted(held, key=lambda each: each.since)
    first = held[:HOLDERS]
    return {
        "oldest_checkout": now - first[0].since if first else 0.0,
        "slots": slots.encoded((now - each.since, each.state) for each in held),
        "holders": tuple(holder(each, now, told(each.about)) for each in first),
    }


def holder(held: Held, now: float, told: dict[str, str]) -> Holder:
    """As a snapshot has it."""
    label = held.label
    named = {} if label is None else {"label": label.name, "request": label.request}
    named["checkout"] = held.checkout
    return Holder(name_of(held.owner), max(0.0, now - held.since), held.pid, state=held.state, **named, **told)


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
    waited, missed = wait - old_wait, max(0, timeouts - old_timeouts)
    return {
        "recent_wait_time": waited,
        "recent_use_time": use - old_use,
        "recent_timeouts": missed,
        "recent_refused": max(0, refused - old_refused),
        "recent_checkouts": max(0, waited.count - missed),
    }
