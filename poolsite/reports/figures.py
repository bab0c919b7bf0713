"""What the documents are, counted by an engine of SQLAlchemy's own, whose database may be a replica unknown to Django."""

import time
from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import Any

from sqlalchemy import column, func, select, table

import poolmgr
from poolsite.docsearch.models import Document

#: The target of the engine, as settings.POOLMGR declares it.
TARGET = "reports"
#: In the order in which the page stacks them.
KINDS = ("class", "method", "function", "module")
#: Packages that the page shows.
MOST = 15

_DOCUMENTS = table(Document._meta.db_table, column("module"), column("kind"), column("text"))
_PACKAGE = func.split_part(_DOCUMENTS.c.module, ".", 1)
_WORDS = func.array_length(func.regexp_split_to_array(_DOCUMENTS.c.text, r"\s+"), 1)
_COUNTED = select(_PACKAGE, _DOCUMENTS.c.kind, func.count(), func.sum(_WORDS)).group_by(_PACKAGE, _DOCUMENTS.c.kind)


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
    """All packages, those with the most docstrings first, and what it took to count them."""

    packages: tuple[Package, ...]
    checkout_ms: float
    query_ms: float
    server_process: int

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
    started = time.perf_counter()
    with poolmgr.pool(TARGET).connect() as borrowed:
        checked_out = time.perf_counter()
        server_process = borrowed.connection.driver_connection.info.backend_pid
        rows = borrowed.execution_options(postgresql_readonly=True).execute(_COUNTED).all()
    done = time.perf_counter()
    return Report(_packages(rows), (checked_out - started) * 1000, (done - checked_out) * 1000, server_process)


def _packages(rows: Any) -> tuple[Package, ...]:
    kinds: dict[str, Counter[str]] = defaultdict(Counter)
    words: Counter[str] = Counter()
    for name, kind, documents, spoken in rows:
        kinds[name][kind] += documents
        words[name] += spoken
    packages = (Package(name, tuple(found[kind] for kind in KINDS), words[name]) for name, found in kinds.items())
    return tuple(sorted(packages, key=lambda package: (-package.docstrings, package.name)))
