"""Requests under way in the threads of this process, and since when.

Nothing is locked: each step on the dictionary is whole. A thread serves one request at a time, so that a request whose end
nobody told is forgotten with the next one, or with its thread.
"""

from __future__ import annotations

import threading
from time import monotonic
from typing import NamedTuple

from poolmgr.pools.forks import on_fork


class UnderWay(NamedTuple):
    """``name`` is the view's, ``began`` on the monotonic clock."""

    thread: threading.Thread
    name: str
    began: float


_under_way: dict[int, tuple[str, float]] = {}
# The thread that forks goes on in the child, and by the same number.
on_fork(_under_way.clear)


def begin(name: str) -> None:
    """The present thread serves a request of this view from now on."""
    _under_way[threading.get_ident()] = name, monotonic()


def end() -> None:
    """The present thread has served it."""
    _under_way.pop(threading.get_ident(), None)


def under_way() -> tuple[UnderWay, ...]:
    """Those of threads that live; a forked child has none of its parent's."""
    alive = {thread.ident: thread for thread in threading.enumerate()}
    for ident in _under_way.keys() - alive.keys():
        _under_way.pop(ident, None)
    return tuple(UnderWay(alive[ident], *told) for ident, told in [*_under_way.items()] if ident in alive)
