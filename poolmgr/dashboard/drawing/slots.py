"""Each process as a row of cells, one for each connection that it may open, and a dot for each request that waits there."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from itertools import groupby

from django.utils.translation import gettext as _

from poolmgr.dashboard.words.present import number
from poolmgr.metrics.slots import Slot, decoded
from poolmgr.metrics.snapshot import PoolSnapshot

#: A cell's side and what lies between two, in pixels; a long row has narrower ones, so that none is wider than is said.
_SIDE, _GAP = 10, 2


@dataclass(frozen=True, slots=True)
class Shape:
    """Cells that look alike, as one SVG path: a fleet has thousands of cells, and few looks."""

    look: str
    path: str


@dataclass(frozen=True, slots=True)
class Row:
    """The cells of one process; ``more`` are those who wait beyond the dots. ``width`` is in pixels."""

    shapes: tuple[Shape, ...]
    dots: tuple[str, ...]
    more: str
    width: str
    text: str


def row(pool: PoolSnapshot, blocked: Collection[int] = (), dots: int = 8, widest: int = 240) -> Row:
    """The oldest checkouts come first, so that what is stuck stands at the left; ``blocked`` are ends that wait for locks.

    Of those who wait ``dots`` have one each; of more the number is told. All cells together are at most ``widest`` pixels.
    """
    limit = pool.limit or pool.max_size
    used = (*decoded(pool.slots), *[Slot(0, "running")] * pool.used)[: pool.used]
    rest = max(0, limit - pool.used - pool.idle - pool.opening)
    stuck = _stuck(pool, used, blocked)
    looks = [_look(slot, index in stuck) for index, slot in enumerate(used)]
    # While a pool shrinks it holds more than it may.
    idle = max(0, min(pool.idle, limit - len(used)))
    looks += ["idle"] * idle + ["over"] * (pool.idle - idle) + ["opening"] * pool.opening + ["free"] * rest
    step = min(_SIDE + _GAP, widest / max(1, len(looks)))
    barred = [index for index, slot in enumerate(used) if slot.state == "in transaction"]
    dots = min(pool.pending, dots)
    edge = len(looks) * step + _GAP
    said = _("%(used)s in use, %(idle)s idle, %(all)s at most, %(pending)s waiting")
    if stuck:
        said = _("%(used)s in use, %(blocked)s of them blocked, %(idle)s idle, %(all)s at most, %(pending)s waiting")
    return Row(
        (*_shapes(looks, step), *([Shape("bar", _bars(barred, step))] if barred else [])),
        tuple(f"{edge + 4 + index * 7:.4g}" for index in range(dots)),
        f"+{number(pool.pending - dots)}" if pool.pending > dots else "",
        f"{edge + dots * 7 + 4:.0f}",
        said % {"blocked": len(stuck), "used": pool.used, "idle": pool.idle, "all": limit, "pending": pool.pending},
    )


def _look(slot: Slot, blocked: bool) -> str:
    quiet = " pm-cell-quiet" if slot.state == "idle" else ""
    return f"used pm-age-{slot.age}{quiet}{' pm-cell-blocked' if blocked else ''}"


def _shapes(looks: Iterable[str], step: float) -> list[Shape]:
    placed = sorted((look, index) for index, look in enumerate(looks))
    side = max(1.0, step - _GAP) if step > 2 * _GAP else step
    box = f"h{side:.3g}v{_SIDE}h-{side:.3g}z"
    return [
        Shape(look, "".join(f"M{index * step:.4g} 1{box}" for _look, index in alike))
        for look, alike in groupby(placed, key=lambda each: each[0])
    ]


def _bars(indexes: Iterable[int], step: float) -> str:
    side = max(1.0, step - _GAP) if step > 2 * _GAP else step
    return "".join(f"M{index * step:.4g} 5h{side:.3g}v2h-{side:.3g}z" for index in indexes)


def _stuck(pool: PoolSnapshot, used: tuple[Slot, ...], blocked: Collection[int]) -> frozenset[int]:
    """Which cells are those of blocked connections: of holders that are told their own; of others the oldest that run."""
    there = set(blocked).intersection(pool.backend_pids)
    told = {index for index, holder in enumerate(pool.holders) if holder.backend_pid in there and index < len(used)}
    rest = [index for index, slot in enumerate(used) if index >= len(pool.holders) and slot.state == "running"]
    return frozenset([*told, *rest[: len(there) - len(told)]])
