"""Totals of the last minute, so that recent figures are a subtraction."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable

from poolmgr.metrics.histogram import Distribution, Histogram

#: How far back the "recent" figures reach, and how finely that is kept, in seconds.
WINDOW = 60.0
STEP = 10.0

#: Wait times, use times, timeouts, refused transactions: cumulative.
Totals = tuple[Distribution, Distribution, int, int]


class History:
    """Guarded by the pool's lock. Times are on the monotonic clock."""

    def __init__(self) -> None:
        self._past: deque[tuple[float, Totals]] = deque()

    def note(self, now: float, wait: Histogram, use: Histogram, counts: Counter[str]) -> None:
        """Count what was noted since; keep the totals of now, if the last ones are old enough."""
        wait.count()
        use.count()
        self.keep(now, lambda: (wait.freeze(), use.freeze(), counts["timeouts"], counts["refused"]))

    def keep(self, now: float, totals: Callable[[], Totals]) -> None:
        """Keep the totals of now, if the last ones are old enough; only then are they asked for."""
        if not self._past or now - self._past[-1][0] >= STEP:
            self._past.append((now, totals()))
        while len(self._past) > 1 and now - self._past[1][0] >= WINDOW:
            self._past.popleft()

    def since(self, now: float) -> Totals:
        """The totals of about a minute ago; zeros while the pool is younger than that."""
        if not self._past or now - self._past[0][0] < WINDOW - STEP:
            return Distribution(), Distribution(), 0, 0
        return self._past[0][1]
