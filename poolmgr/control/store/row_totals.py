"""The fleet's totals in rows: one for each target and role, and one with the number of the last gain of each process."""

from __future__ import annotations

import json
from typing import Any

from django.db.models import QuerySet, TextField
from django.db.models.functions import Cast, Now, Substr

from poolmgr.control.access import control_alias, control_transaction
from poolmgr.control.store.reading import MAX_TOTALS, total_of
from poolmgr.metrics.totals import Gain, Total, added, believed
from poolmgr.models import Summed, Told

#: Characters of a row's sums that are looked at: an honest one has a few thousand.
_LONGEST = 100_000


def add(uid: str, gain: Gain) -> None:
    """Add it, unless that was done. Raises ``django.db.Error``."""
    with control_transaction() as alias:
        told = Told.objects.using(alias)
        if not _is_next(told, uid, gain):
            told.bulk_create([Told(process=uid, number=0, at=Now())], ignore_conflicts=True)
            if not _is_next(told, uid, gain):
                return
        _add_up(gain, alias)


def _is_next(told: QuerySet[Told], uid: str, gain: Gain) -> bool:
    return bool(told.filter(process=uid, number__lt=gain.number).update(number=gain.number, at=Now()))


def _add_up(gain: Gain, alias: str) -> None:
    """Last in its transaction: whoever adds to the same totals waits for its end."""
    totals = Summed.objects.using(alias)
    empty = [Summed(target=target, role=gain.role, sums={}, at=Now()) for target in gain.sums]
    mine = totals.filter(role=gain.role, target__in=gain.sums)
    if mine.count() < len(empty):
        totals.bulk_create(empty, ignore_conflicts=True)
    # In one order for all, so that no two wait for each other.
    rows = _as_texts(mine.order_by("target").select_for_update())
    summed = [
        Summed(target=target, role=role, sums=added((_sums(text), gain.sums[target])), at=Now())
        for target, role, text in rows
    ]
    totals.bulk_create(summed, update_conflicts=True, unique_fields=["target", "role"], update_fields=["sums", "at"])


def read() -> tuple[Total, ...]:
    """Raises ``django.db.Error``."""
    rows = _as_texts(Summed.objects.using(control_alias()).order_by("target", "role"))
    found = (total_of(target, role, _sums(text)) for target, role, text in rows[:MAX_TOTALS])
    return tuple(total for total in found if total is not None)


def _as_texts(rows: QuerySet[Summed]) -> Any:
    text = Substr(Cast("sums", TextField()), 1, _LONGEST)
    return rows.annotate(text=text).values_list("target", "role", "text")


def _sums(text: str) -> dict[str, int]:
    try:
        return believed(json.loads(text))
    except (ValueError, RecursionError):
        return {}
