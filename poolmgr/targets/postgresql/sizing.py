"""How much a pool holds, and may hold: by its settings, its lease, and what a closed pool before it has out still."""

from __future__ import annotations

from collections.abc import Iterable

from poolmgr.pools.port import Load
from poolmgr.targets.postgresql.parting import Parting
from poolmgr.targets.postgresql.state import PoolState


def load(state: PoolState) -> Load:
    """What the pool holds and what is asked of it, at little cost; what its predecessor has out still is included."""
    left = left_over(state)
    with state._lock:
        held = state.pool.held
        used = held if state.retired else len(state.out)
        return Load(held + left, used + left, len(state.pool._waiting))


def left_over(state: PoolState) -> int:
    """Connections of closed pools of the same target that are not gone yet: they are in the way of this one's."""
    if (before := state.predecessor) is None:
        return 0
    over = before.retired  # asked first: until then it may grow
    if not (left := load(before).held) and over:
        state.predecessor = None
    return left


def resize(state: PoolState) -> None:
    """Have the pool follow its settings and its lease."""
    left = left_over(state)  # which never grows, so that a figure that is old by now lets nobody hold more
    with state._lock:
        surplus = state.pool.set_sizes(**sizes(state, left))
    see_off(state, surplus)


def see_off(state: PoolState, surplus: Iterable[Parting]) -> None:
    """Close what has no room by the new sizes, and fill what there is."""
    state.pool.see_off(surplus)
    if state.retired and (heir := state.pool.on_parted) is not None:
        heir()


def sizes(state: PoolState, left: int = 0) -> dict[str, int]:
    """The fewest and the most, where a predecessor has ``left`` out still."""
    most = state.spec.max_size if state.allowance is None else min(state.spec.max_size, state.allowance.most)
    most = 0 if state.retired else max(0, most - left)
    return {"min_size": min(state.spec.min_size, most), "max_size": most}
