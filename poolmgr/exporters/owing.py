"""What histograms that take values one by one have yet to be given, so that nobody who collects is kept for long."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable
from time import monotonic, sleep

from poolmgr.exporters.spreading import spread
from poolmgr.metrics.histogram import BOUNDS, Distribution
from poolmgr.metrics.totals import TIMES, Total

#: Values that are given without a pause: then whoever waits for the interpreter gets it.
_AT_ONCE = 50

#: Called with the name of a histogram, a target, a value in seconds, and how often it is to be recorded.
Give = Callable[[str, str, float, int], None]


class Owed:
    """For one thread at a time. What is given is exact in each bucket, and in the sum once all is given."""

    def __init__(self) -> None:
        self._left: dict[tuple[str, str], Distribution] = {}

    def add(self, gained: Total) -> None:
        """What the pools of a target have gained."""
        for name in TIMES:
            if (more := gained.times(name)).count:
                key = (name, gained.target)
                self._left[key] = self._left.get(key, Distribution()) + more

    def give(self, give: Give, seconds: float) -> None:
        """Give what is owed, for as long; the rest the next time."""
        ends = monotonic() + seconds
        for key, left in list(self._left.items()):
            rest = left - _given(key, left, give, ends)
            if rest.count:
                self._left[key] = rest
                return
            del self._left[key]


def _given(key: tuple[str, str], left: Distribution, give: Give, ends: float) -> Distribution:
    counts, total = [0] * len(left.counts), 0.0
    for value, number in spread(left):
        index = bisect_left(BOUNDS, value)
        while counts[index] < number:
            if monotonic() >= ends:
                return Distribution(tuple(counts), total)
            part = min(_AT_ONCE, number - counts[index])
            give(*key, value, part)
            counts[index] += part
            total += part * value
            sleep(0)
    return Distribution(tuple(counts), total)
