"""What was just read for one viewer serves all of this process: a page costs the store the same for one and for fifty."""

from __future__ import annotations

from collections.abc import Callable
from threading import Lock
from time import monotonic
from typing import Generic, TypeVar

_T = TypeVar("_T")

#: Seconds for which it serves; and for which a viewer waits for another one's reading before reading too.
SECONDS, PATIENCE = 1.0, 5.0


class Shared(Generic[_T]):
    """One kind of reading, by what it was read for. What is read must be immutable."""

    def __init__(self, most: int = 50) -> None:
        self._most = most
        self._lock = Lock()
        self._read: dict[object, tuple[float, _T]] = {}

    def get(self, key: object, read: Callable[[], _T]) -> _T:
        """What ``read`` returned for ``key`` within the last second, or returns now. Raises what it raises."""
        # A reader that hangs, or a lock that was inherited by a fork, holds up nobody for long.
        locked = self._lock.acquire(timeout=PATIENCE)
        try:
            last = self._read.get(key)
            if last is not None and monotonic() - last[0] < SECONDS:
                return last[1]
            now, found = monotonic(), read()
            if len(self._read) >= self._most:
                self._read.clear()
            self._read[key] = now, found
            return found
        finally:
            if locked:
                self._lock.release()
