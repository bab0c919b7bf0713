"""How finely history is kept, and for how long: pure.

Each tier is kept whole beside the finer ones, so that whoever looks at a month reads a month's few rows. Of a target and role
that is 1,080 rows of 10 s, 2,880 of a minute, 4,320 of ten minutes and 720 of an hour at the most.
"""

from __future__ import annotations

from dataclasses import dataclass

_HOUR, _DAY = 3600.0, 86_400.0


@dataclass(frozen=True, slots=True)
class Tier:
    """Periods of ``step`` seconds, kept for ``keep`` seconds."""

    number: int
    step: float
    keep: float


#: Those that are rolled up, each from the one before it, the first from samples.
ROLLED = (Tier(1, 60.0, 2 * _DAY), Tier(2, 600.0, 30 * _DAY), Tier(3, _HOUR, 30 * _DAY))
#: Seconds for which samples themselves are kept: the hours in which somebody looks into what has just been.
_FRESH = 3 * _HOUR
#: Points of a chart: about as many as a screen has pixels for.
POINTS = 1500


def tiers(interval: float, retention: float) -> tuple[Tier, ...]:
    """All, the finest first, where a sample is taken every ``interval`` seconds and nothing is kept for longer than
    ``retention``."""
    rolled = (Tier(tier.number, tier.step, min(tier.keep, retention)) for tier in ROLLED)
    return (Tier(0, interval, min(_FRESH, retention)), *rolled)


def fit(found: tuple[Tier, ...], age: float, length: float) -> Tier:
    """The finest that reaches back ``age`` seconds and shows ``length`` seconds in no more than ``POINTS``; else the
    coarsest."""
    # Whoever asks for the last three hours asks for what is at its end by the time of the answer.
    reach = (tier for tier in found if age <= tier.keep + 60 and length / tier.step <= POINTS)
    return next(reach, found[-1])


#: Stretches of time that a reader may choose by name, in seconds.
RANGES = {"15m": 900.0, "1h": _HOUR, "6h": 6 * _HOUR, "1d": _DAY, "7d": 7 * _DAY, "30d": 30 * _DAY}
