"""How much documentation each package of the library has."""

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import func, select

from .engine import DOCUMENTS, Asked, ask

#: In the order in which the page stacks them.
KINDS = ("class", "method", "function", "module")
#: Packages that the page shows.
MOST = 15

_PACKAGE = func.split_part(DOCUMENTS.c.module, ".", 1)
_WORDS = func.array_length(func.regexp_split_to_array(DOCUMENTS.c.text, r"\s+"), 1)
_COUNTED = select(_PACKAGE, DOCUMENTS.c.kind, func.count(), func.sum(_WORDS)).group_by(_PACKAGE, DOCUMENTS.c.kind)


@dataclass(frozen=True, slots=True)
class Package:
    """``kinds`` has the number of docstrings of each of ``KINDS``."""

    name: str
    kinds: tuple[int, ...]
    words: int

    @property
    def docstrings(self) -> int:
        return sum(self.kinds)


@dataclass(frozen=True, slots=True)
class Report:
    """All packages, those with the most docstrings first."""

    packages: tuple[Package, ...]
    asked: Asked

    @property
    def docstrings(self) -> int:
        return sum(package.docstrings for package in self.packages)

    @property
    def words(self) -> int:
        return sum(package.words for package in self.packages)

    @property
    def words_each(self) -> float:
        return self.words / (self.docstrings or 1)


def report() -> Report:
    """Raises a ``CheckoutError`` when no connection can be had in time."""
    asked = ask(_COUNTED)
    return Report(_packages(asked.rows), asked)


def _packages(rows: Iterable[Any]) -> tuple[Package, ...]:
    kinds: dict[str, Counter[str]] = defaultdict(Counter)
    words: Counter[str] = Counter()
    for name, kind, documents, spoken in rows:
        kinds[name][kind] += documents
        words[name] += spoken
    packages = (Package(name, tuple(found[kind] for kind in KINDS), words[name]) for name, found in kinds.items())
    return tuple(sorted(packages, key=lambda package: (-package.docstrings, package.name)))
