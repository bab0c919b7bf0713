"""For whom connections were used, by label: how often, for how long, and what of that the server was needed for.

What a process tells of a pool, and the sums of that over processes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Annotated

from msgspec import Meta, Struct

from poolmgr.metrics.decoding import Real, Text, Whole, Wholes
from poolmgr.metrics.histogram import BOUNDS, Distribution

#: Labels that a pool tells of one by one, so that they take about a kilobyte; all others are one.
TOLD = 12
#: The longest that a label's name is told, in characters.
LONGEST = 80
#: The kinds of what has no label, and of all labels that are not told of one by one.
NOBODY, OTHERS = "", "others"

_Short = Annotated[str, Meta(max_length=LONGEST)]


class Spent(Struct, frozen=True, array_like=True, gc=False):
    """Checkouts that are over, and seconds, those of the ones under way too: held in all, at the server, and ``kept``: not
    at the server, and such as transaction mode would not have returned it. The rest of ``held`` was spent elsewhere."""

    count: Whole = 0
    held: Real = 0.0
    sql: Real = 0.0
    kept: Real = 0.0

    @property
    def elsewhere(self) -> float:
        return max(0.0, self.held - self.sql - self.kept)

    def __add__(self, other: Spent) -> Spent:
        return Spent(self.count + other.count, self.held + other.held, self.sql + other.sql, self.kept + other.kept)

    def rounded(self) -> Spent:
        """To a tenth of a millisecond, which is what a report is to carry."""
        return Spent(self.count, round(self.held, 4), round(self.sql, 4), round(self.kept, 4))


class Use(Struct, frozen=True, array_like=True, gc=False):
    """One label's: of about the last ten minutes, and since the pools were made.

    ``kind`` is view, task, command, or one of ``NOBODY`` and ``OTHERS``. ``splits`` says whether the parts of ``held`` are
    known. ``lengths`` are those of the recent checkouts: the number of a bucket and how many are in it, and so on.
    """

    kind: Text = NOBODY
    name: _Short = ""
    splits: bool = False
    recent: Spent = Spent()
    all: Spent = Spent()
    lengths: Wholes = ()

    @property
    def times(self) -> Distribution:
        """How long recent checkouts lasted."""
        counts = [0] * (len(BOUNDS) + 1)
        for bucket, number in zip(self.lengths[::2], self.lengths[1::2], strict=False):
            counts[min(bucket, len(BOUNDS))] += number
        return Distribution(tuple(counts), self.recent.held)

    def __add__(self, other: Use) -> Use:
        """Of both, by the name of the first."""
        counts = (self.times + other.times).counts
        return Use(
            self.kind,
            self.name,
            self.splits and other.splits,
            self.recent + other.recent,
            self.all + other.all,
            flat(enumerate(counts)),
        )


Uses = Annotated[tuple[Use, ...], Meta(max_length=1000)]


def flat(buckets: Iterable[tuple[int, int]]) -> tuple[int, ...]:
    """Numbers of buckets and how many are in each, as ``Use.lengths`` has them."""
    return tuple(each for bucket, number in sorted(buckets) if number for each in (bucket, number))


def summed(uses: Iterable[Use], most: int) -> tuple[Use, ...]:
    """The sums by label, the most held lately first: ``most`` of them, and all others as one at the end."""
    found: dict[tuple[str, str], Use] = {}
    for use in uses:
        label = use.kind, use.name
        found[label] = found[label] + use if label in found else use
    rest = [found.pop(label) for label in [*found] if label[0] == OTHERS]
    ordered = sorted(found.values(), key=lambda use: (-use.recent.held, -use.all.held))
    rest += ordered[most:]
    return (*ordered[:most], *_as_one(rest))


def _as_one(rest: Sequence[Use]) -> tuple[Use, ...]:
    if not rest:
        return ()
    made = Use(OTHERS, "", rest[0].splits)
    for use in rest:
        made += use
    return (made,)
