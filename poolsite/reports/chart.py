"""Stacked bars, as percentages for SVG: a page without scripts and inline styles can draw them."""

from collections.abc import Sequence
from dataclasses import dataclass

from .figures import KINDS, Package


@dataclass(frozen=True, slots=True)
class Part:
    kind: str
    count: int
    x: str
    width: str


@dataclass(frozen=True, slots=True)
class Bar:
    package: Package
    parts: tuple[Part, ...]


def bars(packages: Sequence[Package]) -> tuple[Bar, ...]:
    """One for each; the longest spans the whole width."""
    whole = max((package.docstrings for package in packages), default=0)
    return tuple(Bar(package, _parts(package, whole)) for package in packages)


def _parts(package: Package, whole: int) -> tuple[Part, ...]:
    parts, x = [], 0
    for kind, count in zip(KINDS, package.kinds, strict=True):
        if count:
            parts.append(Part(kind, count, _percent(x, whole), _percent(count, whole)))
        x += count
    return tuple(parts)


def _percent(part: int, whole: int) -> str:
    return f"{100 * part / whole:.2f}%"
