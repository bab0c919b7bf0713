"""Figures, tables and targets."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class Target:
    """``got`` against ``limit``: at most it, or at least it."""

    what: str
    got: float
    limit: float
    at_least: bool = False
    unit: str = ""

    @property
    def reached(self) -> bool:
        return self.got >= self.limit if self.at_least else self.got <= self.limit

    def row(self) -> list[str]:
        wanted = f"{'≥' if self.at_least else '≤'} {figure(self.limit)}{self.unit}"
        return [self.what, wanted, f"{figure(self.got)}{self.unit}", "yes" if self.reached else "**no**"]


@dataclass
class Measurement:
    """One table with what it should have reached."""

    title: str
    about: str
    columns: list[str]
    rows: list[list[Any]] = field(default_factory=list)
    targets: list[Target] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def markdown(self) -> str:
        parts = [f"## {self.title}", self.about]
        if self.rows:
            parts.append(table(self.columns, self.rows))
        if self.targets:
            parts.append(table(["target", "wanted", "measured", "reached"], [each.row() for each in self.targets]))
        return "\n\n".join([*parts, *self.notes])

    def plain(self) -> dict[str, Any]:
        return {**asdict(self), "targets": [{**asdict(each), "reached": each.reached} for each in self.targets]}


def in_rounds(items: Sequence[T], rounds: int, measure: Callable[[T], Any]) -> list[list[Any]]:
    """What ``measure`` found for each item in each round; every round begins with another one."""
    found: list[list[Any]] = [[] for _ in items]
    for turn in range(rounds):
        for place in range(len(items)):
            which = (turn + place) % len(items)
            found[which].append(measure(items[which]))
    return found


def median(values: Iterable[float]) -> float:
    return statistics.median(list(values))


def percentile(values: Iterable[float], percent: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]


def figure(value: Any) -> str:
    """A number with as many digits as it deserves."""
    if value is None:
        return "-"
    if not isinstance(value, float):
        return str(value)
    size = abs(value)
    digits = 3 if size < 1 else 2 if size < 10 else 1 if size < 100 else 0
    return f"{value:,.{digits}f}"


def table(columns: list[str], rows: Iterable[Sequence[Any]]) -> str:
    head = ["| " + " | ".join(columns) + " |", "|" + "---|" + "---:|" * (len(columns) - 1)]
    return "\n".join([*head, *("| " + " | ".join(figure(cell) for cell in row) + " |" for row in rows)])
