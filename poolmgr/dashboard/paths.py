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
    first, *rest = run
    path = f"M{number(first.x)} {scale.y(first.high)}H{number(first.until)}"
    return path + "".join(f"V{scale.y(level.high)}H{number(level.until)}" for level in rest)


def _lower(run: Sequence[Level], scale: Scale) -> str:
    return "".join(f"V{scale.y(level.low)}H{number(level.x)}" for level in reversed(run))
