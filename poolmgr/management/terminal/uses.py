"""Use of connections by view, task and command, as lines for people."""

from __future__ import annotations

from collections.abc import Iterator

from poolmgr.control.reporting.documents.targets import views
from poolmgr.control.reporting.fleet import Fleet
from poolmgr.control.reporting.uses import Used, label_of, used_by
from poolmgr.management.terminal.tables import table
from poolmgr.metrics.uses import Use
from poolmgr.metrics.words import brief

_HEADS = ("HELD", "FOR", "CHECKOUTS", "P95", "SQL", "IN TRANSACTION", "ELSEWHERE", "SINCE START")


def use_lines(fleet: Fleet, target: str = "") -> Iterator[str]:
    """Of the last ten minutes, by what was held. Raises ``LookupError`` for a target that there is none of."""
    found = [(name, used) for name, used in _used(fleet, target) if used.uses]
    if not found:
        yield "Nobody has used a connection yet."
    for at, (name, used) in enumerate(found):
        if at:
            yield ""
        yield f"{name}, in the last ten minutes:"
        yield from table(_HEADS, map(_row, used.uses), frozenset({0, 2, 3, 4, 5, 6, 7}))
        if used.worst:
            yield used.worst


def _used(fleet: Fleet, target: str) -> list[tuple[str, Used]]:
    return [(view.target, used_by(view.target, fleet.processes, brief)) for view in views(fleet, target)]


def _row(use: Use) -> tuple[str, ...]:
    spent, p95 = use.recent, use.times.quantile(0.95)
    parts = [spent.sql, spent.kept, spent.elsewhere]
    return (
        brief(spent.held),
        label_of(use),
        f"{spent.count:,}",
        "-" if p95 is None else brief(p95),
        *(brief(part) if use.splits else "-" for part in parts),
        brief(use.all.held),
    )
