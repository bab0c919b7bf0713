"""The slots of one target's processes, the worst first: eighty fit the screen, and the full ones leap out."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from poolmgr.control.reporting.fleet import Fleet
from poolmgr.control.reporting.troubles import silent_after
from poolmgr.control.reporting.views import TargetView
from poolmgr.dashboard.addresses import target_address
from poolmgr.dashboard.drawing.slots import Row, row
from poolmgr.dashboard.words.present import number
from poolmgr.metrics.health import ease
from poolmgr.metrics.snapshot import PoolSnapshot, ProcessBeat

#: Processes that have a row; of the others the sums are told.
MOST = 80
#: Who waits has a dot each, up to so many; in a picture of many rows the cells are narrow.
_DOTS, _WIDE, _NARROW = 4, 240, 92


@dataclass(frozen=True, slots=True)
class GridRow:
    """``late`` is a process that has been silent: what it shows was so then."""

    uid: str
    role: str
    place: str
    pid: int
    waits: bool
    full: bool
    late: bool
    slots: Row


@dataclass(frozen=True, slots=True)
class Grid:
    """``rest`` is a sentence on the processes without a row, "" where there are none; ``tabs`` are the other targets.

    ``dense`` is one of so many rows that names have to be short.
    """

    target: str
    address: str
    rows: tuple[GridRow, ...]
    rest: str
    tabs: tuple[str, ...]
    dense: bool


def chosen_grid(found: Sequence[tuple[TargetView, str]], fleet: Fleet, wanted: str) -> Grid | None:
    """Of the target ``wanted``, or else of the most used of those in the worst state; None where nobody has a pool open.

    ``found`` has each target's state with it, the worst first.
    """
    used = [(view, state) for view, state in found if view.processes]
    if not used:
        return None
    worst = [view for view, state in used if state == used[0][1]]
    view = next((view for view, _state in used if view.target == wanted), None) or max(worst, key=_use)
    return grid(view, fleet, tuple(each.target for each, _state in used if each is not view))


def _use(view: TargetView) -> tuple[float, int]:
    """How full it is where it is fullest, and how much is used of it."""
    return max((role.used / (role.capacity or 1) for role in view.roles), default=0.0), view.used


def grid(view: TargetView, fleet: Fleet, tabs: tuple[str, ...] = ()) -> Grid:
    """Of one target; ``tabs`` are the others that may be chosen."""
    blocked = view.blocked.pids if view.blocked else ()
    pools = [(beat, pool) for beat in fleet.processes for pool in beat.pools if pool.target == view.target]
    pools.sort(key=lambda pair: (*ease(pair[1]), pair[0].role, pair[0].host, pair[0].pid))
    latest = silent_after(fleet.store)
    dense = len(pools) > MOST // 2
    return Grid(
        target=view.target,
        address=target_address(view.target),
        rows=tuple(
            _row(beat, pool, blocked, fleet.at - beat.at > latest, _NARROW if dense else _WIDE)
            for beat, pool in pools[:MOST]
        ),
        rest=_rest([pool for _beat, pool in pools[MOST:]]),
        tabs=tabs,
        dense=dense,
    )


def _row(beat: ProcessBeat, pool: PoolSnapshot, blocked: Collection[int], late: bool, widest: int) -> GridRow:
    return GridRow(
        uid=beat.uid,
        role=beat.role,
        place=f"{beat.host}:{beat.pid}",
        pid=beat.pid,
        waits=pool.pending > 0,
        full=pool.used >= (pool.limit or pool.max_size) > 0,
        late=late,
        slots=row(pool, blocked, dots=_DOTS, widest=widest),
    )


def _rest(pools: Sequence[PoolSnapshot]) -> str:
    if not pools:
        return ""
    who = ngettext("%(n)s more process", "%(n)s more processes", len(pools)) % {"n": number(len(pools))}
    waiting = sum(pool.pending for pool in pools)
    said = _("%(who)s: %(used)s of %(all)s in use, %(waiting)s waiting") % {
        "who": who,
        "used": number(sum(pool.used for pool in pools)),
        "all": number(sum(pool.limit or pool.max_size for pool in pools)),
        "waiting": number(waiting) if waiting else _("nobody"),
    }
    return f"{said}."
