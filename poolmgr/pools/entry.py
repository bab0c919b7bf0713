"""What a pool knows of each of its connections: who has it since when, what pins it, and whether its socket has news."""

from __future__ import annotations

import ctypes
import select
from collections.abc import Callable
from functools import partial
from typing import Any

#: The pin of whoever made an extension, whose types the pool's other connections don't know yet.
EXTENDS = "new extension"
#: Pins whose traces no DISCARD ALL removes: such a connection is replaced.
LIBRARY, SEED, DBLINK = "LOAD", "random seed", "dblink"
INDELIBLE = frozenset({LIBRARY, SEED, DBLINK})


class Entry:
    """The pool's record of one physical connection, reachable as ``connection.entry``.

    ``owner``, ``since``, ``epoch`` and ``idle_since`` are guarded by the pool's lock. ``cursors``, ``held`` (open
    cursors that outlive a transaction), ``transactions`` (begun or ended so far), ``begun`` (the borrower said BEGIN),
    ``pins``, ``greeted``, ``greeted_by`` and ``guest_of`` belong to the owner's thread, and to the pool while nobody owns
    the connection. ``greeted`` holds who was told that this connection was created, ``greeted_by`` which ``connect()`` did
    so; ``guest_of`` is the request, with its attribute ``over``, for which a thread that is not the request's own has taken
    it. ``late`` takes, from any thread, one element for each cursor that was finalised outside the owner's thread.
    """

    __slots__ = (
        "asked_at",
        "begun",
        "cursors",
        "epoch",
        "expires",
        "generation",
        "greeted",
        "greeted_by",
        "guest_of",
        "has_news",
        "held",
        "idle_since",
        "late",
        "leak_reported",
        "owner",
        "pid",
        "pins",
        "since",
        "transactions",
    )

    def __init__(self, fileno: int, pid: int, generation: int, now: float) -> None:
        self.pid = pid
        self.generation = generation
        self.expires = float("inf")
        self.idle_since = now
        self.has_news = watch(fileno)
        self.owner: Any = None
        self.since = 0.0
        self.epoch = 0
        self.cursors = 0
        self.held = 0
        self.transactions = 0
        self.begun = False
        self.guest_of: Any = None
        self.late: list[None] = []
        self.pins: set[str] = set()
        self.greeted: list[Any] | None = None
        self.greeted_by: Any = None
        self.leak_reported = -1
        self.asked_at = 0.0


def watch(fileno: int) -> Callable[[int], Any]:
    """A function that tells, without waiting when called with 0, whether the peer sent something or hung up.

    An idle PostgreSQL connection is silent: news means that the server said good-bye or the connection broke.
    """
    if _poll is None:  # Windows
        return lambda timeout: select.select([fileno], [], [], timeout)[0]
    watched = _Watched(fileno, select.POLLIN | getattr(select, "POLLRDHUP", 0))
    return partial(_poll, ctypes.byref(watched), 1)


class _Watched(ctypes.Structure):
    """C's struct pollfd."""

    _fields_ = (("fd", ctypes.c_int), ("events", ctypes.c_short), ("revents", ctypes.c_short))


# C's own poll(), called without letting go of the interpreter's lock. Python's lets go of it even where it can't wait: under
# load every checkout would then stand in line for the interpreter while it holds a connection that others wait for.
# gevent has no hand in it either: its poll() would switch greenlets inside the pool's lock.
_poll: Any = ctypes.PyDLL(None).poll if hasattr(select, "poll") else None
