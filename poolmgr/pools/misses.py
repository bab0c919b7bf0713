"""Checkouts that found no connection in time, as far as they say what is so now: the last one, and those since a pause."""

from __future__ import annotations

import time
from typing import Any


class Misses:
    """Guarded by the pool's lock. Times are on the monotonic clock; ``timeouts`` is the pool's counter of them."""

    __slots__ = ("_before", "_last", "_paused")

    def __init__(self) -> None:
        self._last = self._paused = 0.0
        self._before = 0  # timeouts before the pause

    def note(self, now: float) -> None:
        """One just got nothing."""
        self._last = now

    def pause(self, now: float, timeouts: int) -> None:
        """Checkouts stop; a pause that holds already goes on."""
        if not self._paused:
            self._paused, self._before = now, timeouts

    def resume(self) -> None:
        self._paused = 0.0

    def told(self, now: float, timeouts: int) -> dict[str, Any]:
        """By the names of a snapshot's fields."""
        epoch = time.time() - now
        return {
            "last_timeout_at": epoch + self._last if self._last else 0.0,
            "paused_at": epoch + self._paused if self._paused else 0.0,
            "timeouts_paused": timeouts - self._before if self._paused else 0,
        }
