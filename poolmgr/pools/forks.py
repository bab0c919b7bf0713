"""Whether this is still the process that it was: a fork is noticed whatever forked, before anything of the parent's is used.

Python tells its hooks of ``os.fork()`` alone, and neither of uWSGI's forks nor of those that an embedder or a C extension
makes. So whoever is about to use what a parent may have left asks ``here`` first, and calls ``attend()`` where that is
false. It is a byte that the kernel wipes in each child: to look at it takes 12 ns, a fraction of what the process id takes,
which is asked where no kernel does that.

A module that a thread is the first to import is lost to a child that is forked meanwhile: its lock is held for ever, by a
thread that the child doesn't have. So what our threads need is imported when Django is ready, and not when they need it.
"""

from __future__ import annotations

import _imp as imp
import ctypes
import encodings.idna  # noqa: F401 - for whom a thread looks up its first host name
import gc
import logging
import mmap
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from threading import RLock
from types import FrameType
from typing import Any

logger = logging.getLogger("poolmgr.pool")

#: Linux's MADV_WIPEONFORK, for which Python has no name.
_WIPE_ON_FORK = 18


class _Number:
    """The same by the number of the process."""

    def __init__(self) -> None:
        self._pid = os.getpid()

    def __bool__(self) -> bool:
        return os.getpid() == self._pid

    def _take(self, value: int) -> None:
        self._pid = os.getpid()

    value = property(fset=_take)


def _make_mark() -> Any:
    if sys.platform == "linux":
        page = mmap.mmap(-1, mmap.PAGESIZE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        with suppress(OSError):  # Linux before 4.14
            page.madvise(_WIPE_ON_FORK)
            # C's own view of its first byte: whether that is zero is asked without making a number of it.
            mark = ctypes.c_byte.from_buffer(page)
            mark.value = 1
            return mark
    return _Number()


#: ``here`` is false in a child that has not attended to its fork.
here = _make_mark()
_callbacks: list[Callable[[], None]] = []
#: One for each process: a parent's may have been held at the fork, by a thread that the child doesn't have.
_locks: dict[int, Any] = {}
_attending = 0
#: Whether Python knows of the fork that has made the present process, if any has.
_heard = True
#: Held by whoever looks at frames, for whom collecting garbage may have to wait.
_looking = RLock()
_collecting_waits = False


def on_fork(callback: Callable[[], None]) -> None:
    """Call ``callback`` in each forked child, before it uses anything of ours, in the order of registration."""
    _callbacks.append(callback)


def attend(told: bool = False) -> None:
    """Part with what is the parent's, once in each child; whoever comes meanwhile waits for the end of it.

    ``told`` says that Python has heard of the fork.
    """
    global _attending, _heard
    pid = os.getpid()
    with _locks.setdefault(pid, RLock()):
        if here or _attending == pid:
            return
        _attending, _heard = pid, told
        _forget_the_looks()
        for callback in _callbacks:
            try:
                callback()
            except Exception:  # what the others part with is no less the parent's
                logger.exception("a forked child could not part with all that is its parent's")
        if not _heard:
            _tell_python()
        here.value = 1
        _attending = 0


def _forget_the_looks() -> None:
    """Those of the parent's threads, which will not come to their end here."""
    global _looking, _collecting_waits
    _looking = RLock()
    if _collecting_waits:
        _collecting_waits = False
        gc.enable()


def current_frames() -> dict[int, FrameType]:
    """``sys._current_frames()``, and nothing in a child whose fork Python has not heard of.

    There it still knows the parent's threads, whose frames lead to memory that other threads have by now.
    """
    if not here:
        attend()
    return _frames() if _heard else {}


def _frames() -> dict[int, FrameType]:
    """Without a collection of garbage in the middle of it, where Python begins one at any allocation, as until 3.11.

    The call holds a lock of the interpreter's. Whoever wants it meanwhile, as to start a thread, waits with the GIL, and the
    finaliser that has let go of that never gets it back: the whole process stands still.
    """
    global _collecting_waits
    with _looking:
        if sys.version_info >= (3, 12) or not gc.isenabled():
            return sys._current_frames()
        _collecting_waits = True
        try:
            gc.disable()
            return sys._current_frames()
        finally:
            gc.enable()
            _collecting_waits = False


def _tell_python() -> None:
    """Have Python do what it does after its own forks, where that can still be done.

    Its tables keep the parent's threads that waited, and lead to their stacks, which the child's threads get: the
    interpreter crashes when it follows them. Other threads of the child, if it has any by now, would be taken for the
    parent's; and a thread of the parent's that was importing will never let go of the lock that is needed.
    """
    if sys.platform != "linux" or sys.implementation.name != "cpython" or imp.lock_held():
        return
    with suppress(OSError):
        if len(os.listdir("/proc/self/task")) == 1 and getattr(sys, "_is_gil_enabled", lambda: True)():
            imp.acquire_lock()  # which what follows releases
            ctypes.pythonapi.PyOS_AfterFork_Child()


def _hear() -> None:
    global _heard
    attend(told=True)
    _heard = True


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_hear)
