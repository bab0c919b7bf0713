"""A managed pool's life: it opens, retires, closes, and in a forked child is nobody's."""

from __future__ import annotations

from collections import deque
from functools import partial
from threading import Condition, RLock

from poolmgr.pools.inherited import let_go
from poolmgr.targets.postgresql import housekeeping, leasing, sizing
from poolmgr.targets.postgresql.reclaiming import reclaim
from poolmgr.targets.postgresql.state import PoolState


def start(state: PoolState) -> None:
    """Start the pool's threads and its first connects, once."""
    if (before := state.predecessor) is not None:
        before.pool.on_parted = partial(sizing.resize, state)
        retire(before)
    sizing.resize(state)
    with state._lock:
        if state.retired:
            return  # closed by the time that one of several who found it comes to open it
        state.pool.open()
    housekeeping.start(state)
    leasing.watch(state)


def retire(state: PoolState) -> None:
    """Connect no more, and close what is idle now and what is used as it returns."""
    with state._lock:
        state.pool.retire()
        state.retired = True
    sizing.resize(state)


def close(state: PoolState, timeout: float) -> None:
    """Retire. What nobody will give back goes now too."""
    retire(state)
    reclaim(state)
    state.pool.close(timeout)


def disown(state: PoolState) -> None:
    """In a forked child: the locks are new, since a thread that the child doesn't have may have held the old ones."""
    pool = state.pool
    state.retired = pool._closed = True
    pool._lock = RLock()
    pool.parted = Condition(pool._lock)
    state.use_lock(pool._lock)
    leaving = [parting.connection for parting in (*pool.leaving, *pool.passing)]
    # Also those that a worker had in its hands.
    for connection in {*pool._pool, *state.out, *pool.living, *leaving}:
        let_go(connection, connection.fileno, getattr(connection, "entry", None))
    pool._pool, pool._waiting, state.out = deque(), deque(), set()
