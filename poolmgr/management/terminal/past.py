"""History of targets, as documents for programs and as lines for people."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from time import time
from typing import Any

from poolmgr.control.reporting.past import Past, moment, past, targets_with_past
from poolmgr.control.reporting.told import as_document
from poolmgr.management.terminal.tables import table
from poolmgr.metrics.histogram import Distribution
from poolmgr.metrics.periods import Period, by_window

#: About as many lines of a target as a terminal shows at once.
_LINES = 30
_HEADS = (
    "FROM", "USED", "MOST", "LIMIT", "WAITED", "FULL", "FAILED", "OPENED", "WAIT p50", "p95", "p99", "USE p50", "p95", "p99",
)  # fmt: skip


def read(target: str, seconds: float, role: str = "") -> list[Past]:
    """Of one target, or of all. Raises ``LookupError`` for a target that there is none of, and ``django.db.Error``."""
    there = targets_with_past()
    if target and target not in there:
        raise LookupError(f"there is no target {target!r}; there are {', '.join(there)}")
    now = time()
    return [past(each, now - seconds, now, role) for each in ([target] if target else there)]


def documents(found: Iterable[Past]) -> list[dict[str, Any]]:
    return [as_document(each) for each in found]


def lines(found: Iterable[Past]) -> Iterator[str]:
    for each in found:
        yield f"{each.target}{f' ({each.role})' if each.role else ''}:"
        rows = [_row(period, each) for period in _fewer(each)]
        if rows:
            yield from table(_HEADS, rows, frozenset(range(1, len(_HEADS))))
        else:
            yield "Nothing is known of this time: no process had this pool open, or nobody sampled it."
        yield ""


def _fewer(found: Past) -> tuple[Period, ...]:
    factor = max(1, round((found.end - found.begin) / found.step / _LINES))
    return by_window((("", period) for period in found.periods), found.step * factor)


def _row(period: Period, found: Past) -> tuple[str, ...]:
    day = found.end - found.begin > 43_200
    when = moment(period.at)
    counted = period.seconds is not None
    return (
        f"{when:%m-%d %H:%M}" if day else f"{when:%H:%M:%S}",
        f"{period.used:.1f}".removesuffix(".0"),
        str(period.used_most),
        str(period.capacity),
        str(period.pending_most),
        str(period.full),
        str(period.failed) if counted else "-",
        str(period.created) if counted else "-",
        *_times(period.wait),
        *_times(period.use),
    )


def _times(times: Distribution) -> Iterator[str]:
    yield from (_short(times.quantile(q)) for q in (0.5, 0.95, 0.99))


def _short(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    for factor, unit in ((1e6, "us"), (1e3, "ms")):
        if seconds * factor < 999.5:
            return f"{seconds * factor:.3g} {unit}"
    return f"{seconds:.3g} s"
