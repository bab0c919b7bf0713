"""Figures over time as paths of SVG: each is level for as long as its period, and where nothing is known is nothing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Level:
    """From ``x`` to ``until`` in pixels, what reaches from ``low`` to ``high``, in its own unit."""

    x: float
    until: float
    high: float
    low: float = 0.0


@dataclass(frozen=True, slots=True)
class Scale:
    """From figures, 0 to ``most``, to pixels: ``top`` for the most, ``bottom`` for 0."""

    most: float
    top: float
    bottom: float

    def y(self, value: float) -> str:
        share = min(1.0, value / self.most) if self.most > 0 else 0.0
        return number(self.bottom - (self.bottom - self.top) * share)


def line(levels: Iterable[Level], scale: Scale) -> str:
    """Along the upper ends."""
    return "".join(_upper(run, scale) for run in _runs(levels))


def band(levels: Iterable[Level], scale: Scale) -> str:
    """What lies between both ends, filled; nothing where they are the same."""
    return "".join(
        f"{_upper(run, scale)}{_lower(run, scale)}Z"
        for run in _runs(level for level in levels if level.high > level.low)
    )


def number(value: float) -> str:
    """A coordinate, as SVG has it in every locale."""
    return f"{value:.1f}".removesuffix(".0")


def _runs(levels: Iterable[Level]) -> Iterator[list[Level]]:
    run: list[Level] = []
    for level in levels:
        if run and level.x - run[-1].until > 0.05:
            yield run
            run = []
        run.append(level)
    if run:
        yield run


def _upper(run: Sequence[Level], scale: Scale) -> str:
    (y, until), *rest = _steps((scale.y(level.high), level.until) for level in run)
    path = f"M{number(run[0].x)} {y}H{number(until)}"
    return path + "".join(f"V{y}H{number(until)}" for y, until in rest)


def _lower(run: Sequence[Level], scale: Scale) -> str:
    """Back along the lower ends."""
    steps = _steps((scale.y(level.low), level.x) for level in reversed(run))
    return "".join(f"V{y}H{number(until)}" for y, until in steps)


def _steps(levels: Iterable[tuple[str, float]]) -> list[tuple[str, float]]:
    """What goes on at the same height is one step."""
    found: list[tuple[str, float]] = []
    for y, until in levels:
        if found and found[-1][0] == y:
            found.pop()
        found.append((y, until))
    return found
