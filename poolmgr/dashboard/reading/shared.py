"""What was just read for one viewer serves all of this process: a page costs the store the same for one and for fifty."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import CancelledError, Future
from threading import Lock
from time import monotonic
from typing import Generic, TypeVar

_T = TypeVar("_T")

#: Seconds from its begin for which a reading serves; and for which a viewer waits for another one's before reading too.
SECONDS, PATIENCE = 1.0, 5.0


class Shared(Generic[_T]):
    """One kind of reading, by what it was read for. What is read must be immutable.

    The lock guards the table alone. A reading that fails, or takes too long, is nobody's but its own reader's.
    """

    def __init__(self, most: int = 50) -> None:
        self._most = most
        self._lock = Lock()
        self._readings: dict[object, tuple[float, Future[_T]]] = {}

    def get(self, key: object, read: Callable[[], _T]) -> _T:
        """What ``read`` returned for ``key`` within the last second, or returns now. Raises what it raises."""
        mine: Future[_T] = Future()
        with self._lock:
            begun, reading = self._readings.get(key, (0.0, None))
            if reading is None or monotonic() - begun >= SECONDS:
                if len(self._readings) >= self._most:
                    self._readings.clear()
                self._readings[key] = monotonic(), mine
                reading = mine
        if reading is not mine:
            try:
                return reading.result(PATIENCE)
            except (CancelledError, TimeoutError):
                return read()
        try:
            found = read()
        except BaseException:
            mine.cancel()
            raise
        mine.set_result(found)
        return found
