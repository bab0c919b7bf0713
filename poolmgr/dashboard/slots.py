"""Each process as a row of cells, one for each connection that it may open, and a dot for each request that waits there."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from django.utils.translation import gettext as _

from poolmgr.dashboard.present import number
from poolmgr.metrics.slots import Slot, decoded
from poolmgr.metrics.snapshot import PoolSnapshot

#: A cell's side and what lies between two, in pixels; a long row has narrower ones, so that none is wider than _LONGEST.
_SIDE, _GAP, _LONGEST = 10, 2, 30 * 12
#: Waiting requests that have a dot each; of more the number is told.
_DOTS = 8
#: Barred, quiet, age: of a cell that nobody uses.
_NOBODY = (False, False, 0)


@dataclass(frozen=True, slots=True)
class Cell:
    """``kind`` is used, idle, opening, free, or over for one beyond what the pool may hold now; x and width in pixels."""

    kind: str
    x: str
    width: str
    barred: bool = False
    quiet: bool = False
    age: int = 0
    blocked: bool = False


@dataclass(frozen=True, slots=True)
class Row:
    """The cells of one process; ``more`` are those who wait beyond the dots."""

    cells: tuple[Cell, ...]
    dots: tuple[str, ...]
    more: str
    width: str
    text: str


def row(pool: PoolSnapshot, blocked: Collection[int] = ()) -> Row:
    """The oldest checkouts come first, so that what is stuck stands at the left; ``blocked`` are ends that wait for locks."""
    limit = pool.limit or pool.max_size
    used = (*decoded(pool.slots), *[Slot(0, "running")] * pool.used)[: pool.used]
    rest = max(0, limit - pool.used - pool.idle - pool.opening)
    kinds = ["used"] * len(used) + ["idle"] * pool.idle + ["opening"] * pool.opening + ["free"] * rest
    stuck = _stuck(pool, used, blocked)
    step = min(_SIDE + _GAP, _LONGEST / max(1, len(kinds)))
    side = max(1.0, step - _GAP) if step > 2 * _GAP else step
    cells = tuple(
        Cell(
            # While a pool shrinks it holds more than it may.
            kind if index < limit or kind == "used" else "over",
            f"{index * step:.2f}",
            f"{side:.2f}",
            *((of.state == "in transaction", of.state == "idle", of.age) if (of := _at(used, index)) else _NOBODY),
            index in stuck,
        )
        for index, kind in enumerate(kinds)
    )
    dots = min(pool.pending, _DOTS)
    edge = len(kinds) * step + _GAP
    said = _("%(used)s in use, %(idle)s idle, %(all)s at most, %(pending)s waiting")
    if stuck:
        said = _("%(used)s in use, %(blocked)s of them blocked, %(idle)s idle, %(all)s at most, %(pending)s waiting")
    return Row(
        cells,
        tuple(f"{edge + 4 + index * 7:.2f}" for index in range(dots)),
        f"+{number(pool.pending - dots)}" if pool.pending > dots else "",
        f"{edge + dots * 7 + 4:.0f}",
        said % {"blocked": len(stuck), "used": pool.used, "idle": pool.idle, "all": limit, "pending": pool.pending},
    )


def _stuck(pool: PoolSnapshot, used: tuple[Slot, ...], blocked: Collection[int]) -> frozenset[int]:
    """Which cells are those of blocked connections: of holders that are told their own; of others the oldest that run."""
    there = set(blocked).intersection(pool.backend_pids)
    told = {index for index, holder in enumerate(pool.holders) if holder.backend_pid in there and index < len(used)}
    rest = [index for index, slot in enumerate(used) if index >= len(pool.holders) and slot.state == "running"]
    return frozenset([*told, *rest[: len(there) - len(told)]])


def _at(used: tuple[Slot, ...], index: int) -> Slot | None:
    return used[index] if index < len(used) else None
