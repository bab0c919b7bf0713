"""Histograms of durations with fixed bounds, so that any two can be added or subtracted."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from math import inf
from typing import Annotated
from zlib import crc32

from msgspec import Meta, Struct

from poolmgr.metrics.decoding import Real, Whole

#: Upper bounds of the buckets in seconds, a 1-2-5 series from 10 µs to 200 s; a last bucket takes the rest.
BOUNDS: tuple[float, ...] = tuple(float(f"{m}e{e}") for e in range(-5, 3) for m in (1, 2, 5))[:-1]
_BUCKETS = len(BOUNDS) + 1
#: By which another version's buckets are known.
BUCKETS = crc32(repr(BOUNDS).encode())


class Histogram:
    """A mutable histogram. Not thread-safe: the owner's lock guards it.

    ``add(seconds)`` only notes: it is called twice a checkout. What was noted is counted all at once, when somebody asks
    or by ``count()``, which the owner calls now and then, since until then each costs its memory.
    """

    __slots__ = ("_counts", "_noted", "_total", "add")

    def __init__(self) -> None:
        self._counts = [0] * (len(BOUNDS) + 1)
        self._total = 0.0
        self._noted: list[float] = []
        self.add = self._noted.append

    def count(self) -> None:
        # What the garbage collector has noted meanwhile stands behind these.
        taken = len(self._noted)
        values = sorted(self._noted[:taken])
        del self._noted[:taken]
        below = 0
        for index, bound in enumerate((*BOUNDS, inf)):
            upto = bisect_right(values, bound, below)
            self._counts[index] += upto - below
            below = upto
        self._total += sum(values)

    def freeze(self) -> Distribution:
        self.count()
        return Distribution(tuple(self._counts), self._total)


class Distribution(Struct, frozen=True, omit_defaults=True, gc=False):
    """An immutable histogram: one count for each bucket of ``BOUNDS`` and one above, and the sum in seconds."""

    counts: Annotated[tuple[Whole, ...], Meta(min_length=_BUCKETS, max_length=_BUCKETS)] = (0,) * _BUCKETS
    total: Real = 0.0

    @property
    def count(self) -> int:
        return sum(self.counts)

    @property
    def mean(self) -> float | None:
        return self.total / self.count if self.count else None

    def quantile(self, q: float) -> float | None:
        """The value in seconds below which a share ``q`` (0 to 1) lies, linear inside a bucket; None when empty."""
        count = self.count
        if not count:
            return None
        rank = q * count
        below = 0
        for index, inside in enumerate(self.counts):
            if inside and below + inside >= rank:
                low = BOUNDS[index - 1] if index else 0.0
                high = BOUNDS[index] if index < len(BOUNDS) else BOUNDS[-1]
                return low + (high - low) * max(0.0, rank - below) / inside
            below += inside
        return BOUNDS[-1]

    def above(self, seconds: float) -> float:
        """How many values are larger, linear inside a bucket; the last bucket counts as a whole."""
        found, low = 0.0, 0.0
        for inside, high in zip(self.counts, (*BOUNDS, inf), strict=True):
            if low >= seconds:
                found += inside
            elif high > seconds and high < inf:
                found += inside * (high - seconds) / (high - low)
            elif high > seconds:
                found += inside
            low = high
        return found

    def __add__(self, other: Distribution) -> Distribution:
        return Distribution(
            tuple(a + b for a, b in zip(self.counts, other.counts, strict=True)), self.total + other.total
        )

    def __sub__(self, other: Distribution) -> Distribution:
        return Distribution(
            tuple(max(0, a - b) for a, b in zip(self.counts, other.counts, strict=True)),
            max(0.0, self.total - other.total),
        )


def merge(parts: Iterable[Distribution]) -> Distribution:
    """The sum of all parts; empty for none."""
    found = tuple(parts)
    if len(found) < 2:
        return found[0] if found else Distribution()
    counts = tuple(map(sum, zip(*(part.counts for part in found), strict=True)))
    return Distribution(counts, sum(part.total for part in found))
