"""Who holds a connection, whether they still run, and what they are at."""

from __future__ import annotations

import asyncio
import concurrent.futures.thread
import os
import sys
import threading
import traceback
from collections.abc import Callable, Iterable
from itertools import islice
from operator import attrgetter
from types import CodeType, FrameType
from typing import Any
from weakref import ref

from poolmgr.pools.entry import Entry
from poolmgr.pools.forks import current_frames
from poolmgr.pools.labels import Label
from poolmgr.secrets import scrub


class _Here(threading.local):
    """What each thread keeps of itself; it is gone when the thread is."""

    owner: Any


_here = _Here()


class _Mark:
    """Lives as long as the thread that keeps it."""


class Stranger:
    """A thread that Python did not start. Python takes a later one with the same identifier for the same thread."""

    def __init__(self, thread: threading.Thread) -> None:
        self.name, self.ident = thread.name, thread.ident
        _here.mark = mark = _Mark()
        self._mark = ref(mark)

    @property
    def dead(self) -> bool:
        return self._mark() is None


class Sharers:
    """Whichever threads use the Django connection ``wrapper``, which is not the present thread's alone."""

    name = "threads that share a Django connection"

    def __init__(self, wrapper: Any) -> None:
        self._wrapper, self._held = ref(wrapper), ref(wrapper.connection)

    @property
    def dead(self) -> bool:
        wrapper = self._wrapper()
        return wrapper is None or wrapper.connection is not self._held()


def owner_function() -> Callable[[], Any]:
    """What tells who checks out: the greenlet where gevent or eventlet patched threads, the thread otherwise.

    The greenlet itself: what eventlet has ``current_thread()`` return says of itself that it lives for ever.
    """
    if _are_greenlets():
        current: Callable[[], Any] = sys.modules["greenlet"].getcurrent
        return current
    return _current_thread


def _are_greenlets() -> bool:
    gevent, eventlet = sys.modules.get("gevent.monkey"), sys.modules.get("eventlet.patcher")
    by_gevent = gevent is not None and gevent.is_module_patched("threading")
    return by_gevent or (eventlet is not None and eventlet.is_monkey_patched("thread"))


def _current_thread() -> Any:
    try:
        return _here.owner
    except AttributeError:
        thread = threading.current_thread()
        _here.owner = Stranger(thread) if isinstance(thread, threading._DummyThread) else thread
        return _here.owner


def running() -> dict[int, CodeType]:
    """What each thread runs at present, by its identifier.

    The frames themselves are let go of at once: a frame that is kept keeps what its function had, such as a cursor that
    closes when it is forgotten.
    """
    frames = current_frames()
    codes = dict(zip(frames, map(_code, frames.values()), strict=True))
    frames.clear()  # among them the present one, which refers to this dictionary
    return codes


def is_alive(owner: Any) -> bool:
    """Whether ``owner`` still runs; one of which nobody can tell does so for ever."""
    if isinstance(owner, threading.Thread):
        return owner.is_alive()
    if isinstance(owner, asyncio.Task):
        # One of a loop that was closed never goes on.
        return not (owner.done() or owner.get_loop().is_closed())
    return not getattr(owner, "dead", False)


_code = attrgetter("f_code")
#: What an executor's thread runs when it has nothing to do.
_RESTING = getattr(getattr(concurrent.futures.thread, "_worker", None), "__code__", None)


def has_left(entry: Entry, owner: Any, codes: dict[int, CodeType]) -> bool:
    """Whether ``owner`` will not give this connection back, given what ``running()`` returned.

    It has ended, or it is an executor's thread that rests after the request it worked for is over.
    """
    if not is_alive(owner):
        return True
    if entry.guest_of is None or not entry.guest_of.over:
        return False
    return _RESTING is not None and codes.get(getattr(owner, "ident", None) or -1) is _RESTING


def name_of(owner: Any) -> str:
    """For people: at most 200 characters, and nothing that a page or a row can't hold."""
    try:
        name = _name_of_task(owner) if isinstance(owner, asyncio.Task) else str(getattr(owner, "name", None) or "")
    except Exception:  # an owner's own code
        name = ""
    name = name or f"{type(owner).__name__} {id(owner):x}"
    return name[:200].encode(errors="replace").decode()


def who(owner: Any, label: Label | None) -> str:
    """The same, with what the owner works for."""
    return name_of(owner) if label is None else f"{label} in {name_of(owner)}"


def _name_of_task(task: asyncio.Task[Any]) -> str:
    """A task's name, what it runs, and in which line that is."""
    coroutine: Any = task.get_coro()
    name = f"{task.get_name()} {getattr(coroutine, '__qualname__', '')}".strip()
    frame = getattr(coroutine, "cr_frame", None)
    return f"{name} ({os.path.basename(frame.f_code.co_filename)}:{frame.f_lineno})" if frame else name


#: Characters of a call that are told: a line of code may be a whole program's.
_LONGEST_CALL = 1000


def stack_of(owner: Any) -> str:
    """The owner's present stack as text, the innermost call last; empty when it has none."""
    return "".join(_formatted(_calls(owner)))


def innermost(owner: Any, most: int, size: int) -> tuple[str, ...]:
    """The same, call by call, of its ``most`` innermost calls those that have ``size`` bytes together at most.

    Of each there are file, line, function and that line of code, and none of the values that it has; what looks like
    a password in it is left out.
    """
    told: list[str] = []
    for call in reversed(_formatted(_calls(owner, most))):
        text = scrub(call[:_LONGEST_CALL]).encode(errors="replace")
        if len(text) > size:
            break
        size -= len(text)
        told.insert(0, text.decode())
    return tuple(told)


def _calls(owner: Any, most: int | None = None) -> list[tuple[FrameType, int]]:
    """Its innermost calls, those last, with the line that each is at."""
    if isinstance(owner, asyncio.Task):
        calls = _calls_of_task(owner)
        return calls if most is None else calls[-most:]
    frame = current_frames().get(getattr(owner, "ident", None) or -1) or getattr(owner, "gr_frame", None)
    return _calls_from(frame, most)


def _calls_from(frame: FrameType | None, most: int | None = None) -> list[tuple[FrameType, int]]:
    return [*islice(traceback.walk_stack(frame), most)][::-1] if frame else []


def _calls_of_task(task: asyncio.Task[Any]) -> list[tuple[FrameType, int]]:
    if asyncio.current_task(loop := task.get_loop()) is task:
        # It keeps its loop from all else just now, in the middle of what its coroutines know nothing of.
        return _calls_from(current_frames().get(getattr(loop, "_thread_id", None) or -1))
    # What it awaits, call by call; a frame may end while it is looked at.
    calls: list[tuple[FrameType, int]] = []
    coroutine: Any = task.get_coro()
    while (frame := getattr(coroutine, "cr_frame", None) or getattr(coroutine, "gi_frame", None)) is not None:
        calls.append((frame, frame.f_lineno))
        coroutine = getattr(coroutine, "cr_await", None) or getattr(coroutine, "gi_yieldfrom", None)
    return calls


def _formatted(calls: Iterable[tuple[FrameType, int]]) -> list[str]:
    return traceback.StackSummary.extract(iter(calls)).format()
