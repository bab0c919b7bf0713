"""What a budget allows a pool, and for how long."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf

from poolmgr.pools.diagnosis import Diagnosis


@dataclass(frozen=True, slots=True)
class Allowance:
    """At most ``most`` connections. Times are on the monotonic clock.

    From ``lapses`` on nobody is served, and what is idle or comes back is closed; what is in use at ``ends`` is broken
    off, since from then on others may hold that room. ``failure`` is what keeps a lease from coming. ``least`` are those
    to be kept warm, where that is less than min_size.
    """

    most: int
    lapses: float = inf
    ends: float = inf
    failure: Diagnosis | None = None
    least: int | None = None


#: For a pool that has no lease yet.
NOTHING = Allowance(0)
