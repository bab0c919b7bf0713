"""What a process tells of its request threads with each heartbeat."""

from __future__ import annotations

import sysconfig
from collections.abc import Iterator, Sequence
from threading import Thread
from time import monotonic

from poolmgr.metrics.serving import MOST_VIEWS, Served, Serving
from poolmgr.pools.owners import innermost
from poolmgr.serving.requests import UnderWay, under_way
from poolmgr.serving.threads import request_threads

#: Seconds without a free thread after which it is told what they are at.
_TOLD = 1.0
#: Calls that are looked through, their bytes, and characters of the one that is told.
_CALLS, _BYTES, _LONGEST = 60, 40_000, 300
#: Where code lies that is not the site's.
_LIBRARIES = tuple({sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")})


def serving() -> Serving | None:
    """None in a process of which nobody knows how many requests it can serve at once."""
    threads = request_threads()
    if threads is None:
        return None
    found, now = under_way(), monotonic()
    is_used_up = len(found) >= threads.number
    stuck = max(0.0, now - max(each.began for each in found)) if is_used_up else 0.0
    views = tuple(_views(found, now)) if stuck >= _TOLD else ()
    return Serving(threads.number, len(found), threads.waiting, round(stuck, 3), views)


def _views(found: Sequence[UnderWay], now: float) -> Iterator[Served]:
    by_name: dict[str, list[UnderWay]] = {}
    for each in sorted(found, key=lambda each: each.began):
        by_name.setdefault(each.name, []).append(each)
    most = sorted(by_name.items(), key=lambda pair: (-len(pair[1]), pair[1][0].began))
    for name, those in most[:MOST_VIEWS]:
        yield Served(name, len(those), round(max(0.0, now - those[0].began), 3), _call(those[0].thread))


def _call(thread: Thread) -> str:
    """The innermost one of the site's own code; of a library's where there is none."""
    calls = [" ".join(call.split()) for call in innermost(thread, _CALLS, _BYTES)]
    own = [call for call in calls if not any(f'"{place}' in call for place in _LIBRARIES if place)]
    return next(iter((own or calls)[-1:]), "")[:_LONGEST]
