"""What was so in one stretch of time: pure, and put together so that a longer one is exact.

Counters and histograms add up, so that a quantile of an hour is that of all its values and no average of quantiles.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from poolmgr.metrics.histogram import Distribution, merge

#: Of a period: what was counted in it.
COUNTS = ("checkouts", "timeouts", "errors", "created", "create_errors", "lost")
TIMES = ("wait", "use", "create")


@dataclass(frozen=True, slots=True)
class Slots:
    """Of a server's connections: how many are ``used``, and of these ``ours``, and the ``most`` that there may be."""

    used: int
    most: int | None = None
    ours: int | None = None


@dataclass(frozen=True, slots=True)
class Period:
    """A target, or one role of it, for ``step`` seconds from ``at``, in seconds since the epoch.

    ``used``, ``idle`` and ``pending`` are means of ``looks`` at the pools; ``used_most``, ``pending_most`` and ``full``
    (pools of which all that they may open was in use) the most at any moment that somebody saw; ``capacity`` (what all may
    open) and ``processes`` are of the last look. What was counted is of ``seconds`` that end with the period: longer than it
    after some that nobody sampled, and None where the counters could not be read. ``lost`` are connections found dead.
    """

    at: float
    step: float
    looks: int = 0
    used: float = 0.0
    idle: float = 0.0
    pending: float = 0.0
    used_most: int = 0
    pending_most: int = 0
    full: int = 0
    capacity: int = 0
    processes: int = 0
    seconds: float | None = None
    checkouts: int = 0
    timeouts: int = 0
    errors: int = 0
    created: int = 0
    create_errors: int = 0
    lost: int = 0
    wait: Distribution = Distribution()
    use: Distribution = Distribution()
    create: Distribution = Distribution()
    slots: Slots | None = None

    @property
    def failed(self) -> int:
        """Requests that got no connection."""
        return self.timeouts + self.errors


def in_a_row(at: float, step: float, parts: Sequence[Period]) -> Period:
    """One period from ``at`` of all ``parts`` of it, of one role, in their order."""
    if len(parts) == 1:
        return _moved(parts[0], at, step)
    looks = sum(part.looks for part in parts)
    means: dict[str, Any] = {name: _mean(name, parts, looks) for name in ("used", "idle", "pending")}
    last = next((part for part in reversed(parts) if part.looks), parts[-1])
    return Period(
        at,
        step,
        looks=looks,
        **means,
        **{name: max(getattr(part, name) for part in parts) for name in ("used_most", "pending_most", "full")},
        capacity=last.capacity,
        processes=last.processes,
        seconds=_sum([part.seconds for part in parts if part.seconds is not None]),
        **_counted(parts),
        slots=max((part.slots for part in parts if part.slots), key=lambda slots: slots.used, default=None),
    )


def side_by_side(parts: Sequence[Period]) -> Period:
    """One period of all roles, which begin together. The most of each role may have been at different moments: their sum is
    never below the most of all."""
    if len(parts) == 1:
        return parts[0]
    gauges = ("used", "idle", "pending", "used_most", "pending_most", "full", "capacity", "processes")
    return Period(
        parts[0].at,
        parts[0].step,
        looks=max(part.looks for part in parts),
        **{name: sum(getattr(part, name) for part in parts) for name in gauges},
        seconds=max((part.seconds for part in parts if part.seconds is not None), default=None),
        **_counted(parts),
        slots=next((part.slots for part in parts if part.slots), None),
    )


def by_window(parts: Iterable[tuple[str, Period]], step: float) -> tuple[Period, ...]:
    """From periods by role, in the order of time, to one for each ``step`` seconds in which there is any, over all roles."""
    found: dict[float, dict[str, list[Period]]] = {}
    for role, part in parts:
        found.setdefault(begin(part.at, step), {}).setdefault(role, []).append(part)
    return tuple(
        side_by_side([in_a_row(at, step, of_role) for of_role in roles.values()]) for at, roles in sorted(found.items())
    )


def begin(moment: float, step: float) -> float:
    """Of the window of ``step`` seconds in which it lies."""
    return moment // step * step


def _moved(part: Period, at: float, step: float) -> Period:
    if (part.at, part.step) == (at, step):
        return part
    values = {name: getattr(part, name) for name in Period.__slots__}
    return Period(**{**values, "at": at, "step": step})


def _sum(known: Sequence[float]) -> float | None:
    return sum(known) if known else None


def _mean(name: str, parts: Sequence[Period], looks: int) -> float:
    return sum(getattr(part, name) * part.looks for part in parts) / looks if looks else 0.0


def _counted(parts: Sequence[Period]) -> dict[str, Any]:
    sums: dict[str, Any] = {name: sum(getattr(part, name) for part in parts) for name in COUNTS}
    return sums | {name: merge(getattr(part, name) for part in parts) for name in TIMES}
