"""Who holds which connection since when."""

from __future__ import annotations

import concurrent.futures.thread
import ctypes
import select
import sys
import threading
import traceback
from collections.abc import Callable
from functools import partial
from operator import attrgetter
from types import CodeType
from typing import Any

#: The pin of whoever made an extension, whose types the pool's other connections don't know yet.
EXTENDS = "new extension"


class Entry:
    """The pool's record of one physical connection, reachable as ``connection.entry``.

    ``owner``, ``since``, ``epoch`` and ``idle_since`` are guarded by the pool's lock. ``cursors``, ``held`` (open
    cursors that outlive a transaction), ``transactions`` (begun or ended so far), ``begun`` (the borrower said BEGIN),
    ``pins``, ``greeted`` and ``guest_of`` belong to the owner's thread, and to the pool while nobody owns the connection.
    ``greeted`` holds who was told that this connection was created; ``guest_of`` is the request, with its attribute
    ``over``, for which a thread that is not the request's own has taken it. ``late`` takes, from any thread, one element
    for each cursor that was finalised outside the owner's thread.
    """

    __slots__ = (
        "asked_at",
        "begun",
        "cursors",
        "epoch",
        "expires",
        "generation",
        "greeted",
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


def owner_function() -> Callable[[], Any]:
    """What tells who checks out: the greenlet where gevent patched threads, the thread otherwise."""
    if (monkey := sys.modules.get("gevent.monkey")) and monkey.is_module_patched("threading"):
        current: Callable[[], Any] = sys.modules["greenlet"].getcurrent
        return current
    return threading.current_thread


def running() -> dict[int, CodeType]:
    """What each thread runs at present, by its identifier.

    The frames themselves are let go of at once: a frame that is kept keeps what its function had, such as a cursor that
    closes when it is forgotten.
    """
    frames = sys._current_frames()
    codes = dict(zip(frames, map(_code, frames.values()), strict=True))
    frames.clear()  # among them the present one, which refers to this dictionary
    return codes


def is_alive(owner: Any, codes: dict[int, CodeType]) -> bool:
    """Whether ``owner`` still runs, given what ``running()`` returned."""
    if isinstance(owner, threading._DummyThread):
        # A thread that Python did not start always claims to be alive.
        return owner.ident in codes
    if isinstance(owner, threading.Thread):
        return owner.is_alive()
    return not owner.dead


_code = attrgetter("f_code")
#: What an executor's thread runs when it has nothing to do.
_RESTING = getattr(getattr(concurrent.futures.thread, "_worker", None), "__code__", None)


def has_left(entry: Entry, owner: Any, codes: dict[int, CodeType]) -> bool:
    """Whether ``owner`` will not give this connection back, given what ``running()`` returned.

    It has ended, or it is an executor's thread that rests after the request it worked for is over.
    """
    if not is_alive(owner, codes):
        return True
    if entry.guest_of is None or not entry.guest_of.over:
        return False
    return _RESTING is not None and codes.get(getattr(owner, "ident", None) or -1) is _RESTING


def name_of(owner: Any) -> str:
    return str(getattr(owner, "name", None) or f"greenlet {id(owner):x}")


def stack_of(owner: Any) -> str:
    """The owner's present stack as text; empty when it has none."""
    frame = sys._current_frames().get(getattr(owner, "ident", None) or -1) or getattr(owner, "gr_frame", None)
    return "".join(traceback.format_stack(frame)) if frame else ""
