"""What pools have counted, as sums that can be told by what they gained: pure, and the same in memory, in Redis and in a row.

Sums are whole numbers by field: a counter's name, ``pins:`` and a reason, a histogram's name and a bucket's upper bound
(``wait_time:0.005``) or ``us`` for its microseconds. Fields that are 0 are left out. Whole, since the same fractions added
in another order make another sum; by the bound, since another version may have other buckets.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from poolmgr.metrics.histogram import BOUNDS, Distribution
from poolmgr.metrics.snapshot import PoolSnapshot

#: Of a snapshot: what only grows.
COUNTERS = (
    "checkouts", "timeouts", "checkout_errors", "created", "create_errors", "closed", "found_dead", "left_behind",
    "cleaned", "reclaimed", "leaks", "refused",
)  # fmt: skip
TIMES = ("wait_time", "use_time", "create_time")
#: What a total holds at the most, so that Redis and a row can add to it still; the longest name of a field.
MOST, LONGEST_FIELD = 2**62, 200

Sums = Mapping[str, int]

_PINS, _MICROSECONDS = "pins:", 1_000_000
_BUCKETS = tuple(f"{bound:g}" for bound in (*BOUNDS, float("inf")))
_KNOWN = frozenset(COUNTERS) | {f"{name}:{end}" for name in TIMES for end in (*_BUCKETS, "us")}


@dataclass(frozen=True, slots=True)
class Gain:
    """What the pools of one process have gained: sums by target. A store adds each ``number`` of a process once."""

    number: int
    role: str
    sums: Mapping[str, Sums]


@dataclass(frozen=True, slots=True)
class Total:
    """The sums of a target over all processes of a role, those that have ended too."""

    target: str
    role: str
    sums: Sums

    def count(self, name: str) -> int:
        return self.sums.get(name, 0)

    @property
    def pins(self) -> dict[str, int]:
        """Returns of pinned connections by reason."""
        return {name.removeprefix(_PINS): number for name, number in self.sums.items() if name.startswith(_PINS)}

    def times(self, name: str) -> Distribution:
        """One of ``TIMES``."""
        counts = tuple(self.count(f"{name}:{bucket}") for bucket in _BUCKETS)
        return Distribution(counts, self.count(f"{name}:us") / _MICROSECONDS)


def sums_of(pool: PoolSnapshot) -> dict[str, int]:
    """What a pool has counted since it was made."""
    found = {name: getattr(pool, name) for name in COUNTERS}
    found |= {f"{_PINS}{reason}": number for reason, number in pool.pins.items()}
    for name in TIMES:
        times: Distribution = getattr(pool, name)
        found |= {f"{name}:{bucket}": number for bucket, number in zip(_BUCKETS, times.counts, strict=True)}
        found[f"{name}:us"] = round(times.total * _MICROSECONDS)
    return {name: number for name, number in found.items() if number}


def gained(now: Sums, before: Sums) -> dict[str, int]:
    """What ``now`` has more than ``before``; nothing where it has less."""
    return {name: more for name, number in now.items() if (more := number - before.get(name, 0)) > 0}


def added(parts: Iterable[Sums]) -> dict[str, int]:
    """The sum of all parts, no field above ``MOST``."""
    made: dict[str, int] = {}
    for part in parts:
        for name, number in part.items():
            made[name] = min(MOST, made.get(name, 0) + number)
    return made


def believed(found: Any) -> dict[str, int]:
    """The sums in what lay in a store: fields that are none of ours, and numbers that no sum can be, are left out."""
    if not isinstance(found, dict):
        return {}
    return {name: number for name, number in found.items() if _is_field(name) and _is_sum(number)}


def _is_field(name: Any) -> bool:
    return name in _KNOWN or (
        isinstance(name, str) and name.startswith(_PINS) and len(name) <= LONGEST_FIELD and name.isprintable()
    )


def _is_sum(number: Any) -> bool:
    return type(number) is int and 0 < number <= MOST
