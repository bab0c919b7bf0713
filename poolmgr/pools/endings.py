"""A deadline for a block that waits for somebody else."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Timer


@contextmanager
def ended_after(seconds: float, end: Callable[[], object]) -> Iterator[None]:
    """Call ``end``, in another thread, when the block takes longer than ``seconds``."""
    timer = Timer(seconds, end)
    timer.name, timer.daemon = "poolmgr-deadline", True
    try:
        timer.start()
    except RuntimeError:
        pass  # the interpreter ends and starts no thread any more; then this thread ends with it
    try:
        yield
    finally:
        timer.cancel()
