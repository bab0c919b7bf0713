"""Distributions as short texts, as rows of history keep them: only buckets that hold something, each by its upper bound."""

from __future__ import annotations

from functools import lru_cache

from poolmgr.metrics.histogram import BOUNDS, Distribution

#: The longest text that is made, and read.
LONGEST = 700

_ENDS = tuple(f"{bound:g}" for bound in (*BOUNDS, float("inf")))
_PLACES = {end: place for place, end in enumerate(_ENDS)}
_MICROSECONDS = 1_000_000
#: What a bucket and the sum of the times may hold, so that sums of many of them are still exact.
_MOST = 2**62


def packed(times: Distribution) -> str:
    """Such as ``0.001=12 0.002=3 us=15800``: twelve of up to 1 ms, three of up to 2 ms, 15.8 ms in all; "" for none."""
    if not times.count:
        return ""
    parts = [f"{end}={number}" for end, number in zip(_ENDS, times.counts, strict=True) if number]
    return " ".join((*parts, f"us={round(times.total * _MICROSECONDS)}"))


# What is quiet has the same few texts again and again.
@lru_cache(maxsize=1024)
def unpacked(text: str) -> Distribution:
    """Rows can be made in SQL too, and by versions with other buckets: what can't be read is left out."""
    counts, total = [0] * len(_ENDS), 0
    for part in text[:LONGEST].split():
        end, _, digits = part.partition("=")
        if not (digits.isascii() and digits.isdigit() and len(digits) < 20):
            continue
        number = min(int(digits), _MOST)
        if end == "us":
            total = number
        elif (place := _PLACES.get(end)) is not None:
            counts[place] = number
    return Distribution(tuple(counts), total / _MICROSECONDS)
