"""From the fleet's totals at two moments to what was counted between them: pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from poolmgr.metrics.totals import Sums, Total, gained

Key = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Taken:
    """The totals of a target and role that are in its samples, and when they were read, in seconds since the epoch."""

    at: float
    sums: Sums


@dataclass(frozen=True, slots=True)
class Counted:
    """What was counted in the last ``seconds``."""

    seconds: float
    gain: Total


@dataclass(frozen=True, slots=True)
class Before:
    """What is in samples: the totals by target and role, until when there are samples, when totals were read for them (both
    0.0 for never), and the name of the store's memory then."""

    at: float = 0.0
    counted: float = 0.0
    memory: str = ""
    taken: Mapping[Key, Taken] | None = None


def counted(totals: Iterable[Total], before: Before, memory: str, now: float) -> dict[Key, Counted]:
    """What each total has gained since; nothing of one of which that is not known."""
    found = {}
    for total in totals:
        key = total.target, total.role
        last = (before.taken or {}).get(key)
        if (sums := _gain(total.sums, last, before, memory)) is not None:
            since = last.at if last else before.counted
            found[key] = Counted(max(0.0, now - since), Total(*key, sums))
    return found


def _gain(now: Sums, last: Taken | None, before: Before, memory: str) -> Sums | None:
    if last is None:
        # One that is new since the last reading began at zero; before any nobody knows since when it counts.
        return now if before.counted else None
    if not _fell(now, last.sums):
        return gained(now, last.sums)
    # The store lost its memory, and what it has was told since; or it has an older copy of it, and nobody knows how much
    # of that was counted in samples already.
    return now if memory and memory != before.memory else None


def _fell(now: Sums, before: Sums) -> bool:
    return any(now.get(name, 0) < number for name, number in before.items())
