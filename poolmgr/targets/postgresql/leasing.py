"""The lease by which a pool holds its connections: how it comes, and what becomes of them when it runs out."""

from __future__ import annotations

import logging
from dataclasses import replace
from math import inf
from threading import Thread
from time import monotonic
from weakref import ref

from poolmgr.pools.allowance import Allowance
from poolmgr.targets.postgresql import sizing
from poolmgr.targets.postgresql.connection import PooledConnection
from poolmgr.targets.postgresql.liveness import break_off
from poolmgr.targets.postgresql.state import PoolState

logger = logging.getLogger("poolmgr.pool")


def limit(state: PoolState, allowance: Allowance | None) -> None:
    """Hold at most what is allowed, whatever the profile says; None lifts the limit."""
    if state.predecessor is not None:
        limit(state.predecessor, allowance)
    with state._lock:
        before = state.allowance
        state.allow(allowance)
    if allowance is not None and allowance.ends < inf:
        watch(state)
    if before is None or allowance is None or before.most != allowance.most:
        sizing.resize(state)


def lapse(state: PoolState) -> None:
    """Serve nobody and close what is idle, unless the lease was renewed meanwhile."""
    with state.pool._lock:
        allowance = state.allowance
        if allowance is None or not allowance.most or monotonic() < allowance.lapses:
            return
        state.allowance = replace(allowance, most=0)
        # Under the same lock: whoever finds that another has seen to it must find nothing to take.
        surplus = state.pool.set_sizes(**sizing.sizes(state))
    logger.warning("pool %r: the lease runs out by which it holds connections of the budget", state.target)
    sizing.see_off(state, surplus)


def watch(state: PoolState) -> None:
    """Look at the lease now, and have the pool's scheduler do so whatever becomes of the agent that renews it."""
    at = _look(state)
    with state.pool._lock:
        if state.watched or not state.opened or at == inf:
            return
        state.watched = True
    state.pool._sched.enter(max(0.0, at - monotonic()), _Watch(state))


class _Watch:
    """Runs at the two moments that count; it holds the pool weakly, so that a dropped pool ends by itself."""

    def __init__(self, state: PoolState) -> None:
        self._managed = ref(state)

    def __call__(self) -> None:
        state = self._managed()
        if state is None or state.ended:
            return
        state.watched = False
        watch(state)


def _look(state: PoolState) -> float:
    """Do what the lease asks for by now; when to look again, or infinity."""
    lapse(state)
    now = monotonic()
    with state.pool._lock:
        allowance = state.allowance
        if allowance is None or now < allowance.lapses:
            return inf if allowance is None else allowance.lapses
        if now < allowance.ends:
            return allowance.ends
        # Whatever is granted from now on, others may have had this room meanwhile. What is idle is on its way out.
        over = [(conn, conn.entry.epoch) for conn in {*state.pool.living} - {*state.pool._pool} - {*state.broken_off}]
        state.broken_off.update(conn for conn, _ in over)
        prepared = [each for each in state.preparations if not each.broken_off]
        for preparation in prepared:
            preparation.broken_off = True
    for conn, epoch in over:
        # All at once, and not by the pool's workers, who may be at connects and hooks that hang.
        Thread(target=_break_off, args=[state, conn, epoch], name="poolmgr-deadline", daemon=True).start()
    for preparation in prepared:
        logger.warning("pool %r: what prepares a connection is broken off, since the lease is over", state.target)
        Thread(target=break_off, args=[preparation.conn], name="poolmgr-deadline", daemon=True).start()
    return inf


def _break_off(state: PoolState, conn: PooledConnection, epoch: int) -> None:
    """End a conversation that somebody is in the middle of; they give the connection back, or lose it as dead."""
    with state.pool._lock:
        if conn not in state.pool.living or conn.entry.epoch != epoch:
            return  # given back meanwhile
        what = "in use" if conn in state.out else "that was being looked after"
    logger.warning("pool %r: a connection %s is broken off, since the lease is over", state.target, what)
    break_off(conn)
