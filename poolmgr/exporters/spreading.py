"""Single values for what a histogram tells of them: as many in each bucket, and in all the same sum."""

from __future__ import annotations

from collections.abc import Iterator
from math import inf, nextafter

from poolmgr.metrics.histogram import BOUNDS, Distribution

_LOW = (0.0, *BOUNDS)
_MIDDLE = 0.5


def spread(seen: Distribution) -> Iterator[tuple[float, int]]:
    """Values in seconds, and how often each. All lie at the same part of their buckets' widths, which makes the sum right.

    A bucket ends with its upper bound. The last one has none: then the others' values lie in the middle, or lower where the
    sum says so, and what that leaves is the last one's.
    """
    *inside, above = seen.counts
    least = sum(low * number for low, number in zip(_LOW, seen.counts, strict=True))
    width = sum((high - low) * number for low, high, number in zip(_LOW, BOUNDS, inside, strict=False))
    over = max(0.0, seen.total - least)
    part = min(_MIDDLE if above else 1.0, over / width) if width else 0.0
    for low, high, number in zip(_LOW, BOUNDS, inside, strict=False):
        if number:
            yield min(high, max(nextafter(low, inf), low + (high - low) * part)), number
    if above:
        yield max(nextafter(_LOW[-1], inf), _LOW[-1] + (over - width * part) / above), above
