"""What was counted between two looks at the fleet."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from poolmgr.metrics.snapshot import PoolSnapshot, ProcessBeat

_Pool = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Since:
    """Of one target since the last look: requests that ``failed``, and connections ``lost`` in so many processes."""

    failed: int = 0
    lost: int = 0
    losers: int = 0


class Differences:
    """Remembers the counters of each pool. Those of a pool that nobody has told of before begin at nothing when its process
    is new, and are otherwise no news."""

    def __init__(self) -> None:
        self._before: dict[_Pool, tuple[int, int]] | None = None
        self._at = 0.0

    def turn(self, beats: Iterable[ProcessBeat], now: float) -> dict[str, Since] | None:
        """By target; None at the first look, which has nothing to compare with."""
        before, looked = self._before, self._at
        self._before, self._at = {}, now
        found: dict[str, Since] = {}
        for beat in beats:
            is_new = beat.started > looked
            for pool in beat.pools:
                counted = (pool.timeouts, pool.found_dead)
                self._before[beat.uid, pool.target] = counted
                if before is None:
                    continue
                had = before.get((beat.uid, pool.target), (0, 0) if is_new else counted)
                found[pool.target] = _plus(found.get(pool.target, Since()), pool, had)
        return None if before is None else found


def _plus(had: Since, pool: PoolSnapshot, before: tuple[int, int]) -> Since:
    # A counter that fell is another pool's, which began at nothing.
    failed, lost = (
        now - then if now >= then else now for now, then in zip((pool.timeouts, pool.found_dead), before, strict=True)
    )
    return Since(had.failed + failed, had.lost + lost, had.losers + bool(lost))
