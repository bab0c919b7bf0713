"""For whom connections are used, and what for."""

from __future__ import annotations

from typing import Any

from poolmgr.control.reach import Outage
from poolmgr.control.reporting.documents.targets import head, views
from poolmgr.control.reporting.documents.values import text, times
from poolmgr.control.reporting.fleet import Fleet
from poolmgr.control.reporting.uses import used_by
from poolmgr.metrics.uses import Spent, Use
from poolmgr.metrics.words import brief


def uses(fleet: Fleet, target: str = "", outage: Outage | None = None) -> dict[str, Any]:
    """Every target's, the worst target first, or one's. Raises ``LookupError`` for a target that there is none of."""
    return {**head(fleet, outage), "targets": [_of(view.target, fleet) for view in views(fleet, target)]}


def _of(target: str, fleet: Fleet) -> dict[str, Any]:
    used = used_by(target, fleet.processes, brief)
    return {"target": target, "message": text(used.worst), "uses": [_use(each) for each in used.uses]}


def _use(use: Use) -> dict[str, Any]:
    return {
        "kind": text(use.kind),
        "label": text(use.name),
        "last_minutes": {**_spent(use.recent, use.splits), "use": times(use.times)},
        "since_start": _spent(use.all, use.splits),
    }


def _spent(spent: Spent, splits: bool) -> dict[str, Any]:
    parts = {"sql": spent.sql, "idle_in_transaction": spent.kept, "elsewhere": round(spent.elsewhere, 4)}
    return {"checkouts": spent.count, "held": spent.held, **(parts if splits else dict.fromkeys(parts))}
