"""Several pools of one target, as one snapshot."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from poolmgr.metrics import slots
from poolmgr.metrics.histogram import merge
from poolmgr.metrics.history import Totals
from poolmgr.metrics.snapshot import PoolSnapshot
from poolmgr.metrics.totals import COUNTERS, TIMES
from poolmgr.pools.snapshots import HOLDERS

_SHOWN_ADDRESSES = 3
_GAUGES = ("idle", "used", "pending", "opening", "closing")


def counted(parts: Sequence[PoolSnapshot]) -> dict[str, Any]:
    """The sums of what only grows, and the newest of what only gets later, by the names of a snapshot's fields."""
    pins: Counter[str] = Counter()
    for each in parts:
        pins.update(each.pins)
    return {
        "pins": dict(pins),
        "last_timeout_at": max((each.last_timeout_at for each in parts), default=0.0),
        **{name: sum(getattr(each, name) for each in parts) for name in COUNTERS},
        **{name: merge(getattr(each, name) for each in parts) for name in TIMES},
    }


def present(parts: Sequence[PoolSnapshot]) -> dict[str, Any]:
    """What they have at this moment, by the names of a snapshot's fields."""
    holders = sorted((holder for each in parts for holder in each.holders), key=lambda holder: -holder.seconds)
    failed = max((each for each in parts if each.last_error), key=lambda each: each.last_error_at, default=None)
    return {
        **{name: sum(getattr(each, name) for each in parts) for name in _GAUGES},
        "oldest_wait": max((each.oldest_wait for each in parts), default=0.0),
        "paused_at": min((each.paused_at for each in parts if each.paused_at), default=0.0),
        "timeouts_paused": sum(each.timeouts_paused for each in parts),
        "oldest_checkout": max((each.oldest_checkout for each in parts), default=0.0),
        "slots": slots.joined(each.slots for each in parts),
        "holders": tuple(holders[:HOLDERS]),
        "backend_pids": tuple(sorted(pid for each in parts for pid in each.backend_pids)),
        "behind_pooler": any(each.behind_pooler for each in parts),
        "last_error": failed.last_error if failed else "",
        "last_error_at": failed.last_error_at if failed else 0.0,
    }


def totals(counts: dict[str, Any]) -> Totals:
    """Of what ``counted()`` gave, those of which a history is kept."""
    return counts["wait_time"], counts["use_time"], counts["timeouts"], counts["refused"]


def address(addresses: Iterable[str]) -> str:
    """Where they connect to, for people: the first few."""
    found = sorted({each for each in addresses if each})
    shown = ", ".join(found[:_SHOWN_ADDRESSES])
    return f"{shown} and {more} more" if (more := len(found) - _SHOWN_ADDRESSES) > 0 else shown
