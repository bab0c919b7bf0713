"""What becomes of a pool's connections when the lease runs out by which it holds them."""

from __future__ import annotations

import logging
from dataclasses import replace
from math import inf
from time import monotonic

from poolmgr.pools.core.leaving import resize
from poolmgr.pools.core.slot import Slot
from poolmgr.pools.core.state import State

logger = logging.getLogger("poolmgr.pool")


def lapse(state: State) -> None:
    """Serve nobody and close what is idle, unless the lease was renewed meanwhile."""
    with state.lock:
        allowance = state.allowance
        if allowance is None or not allowance.most or monotonic() < allowance.lapses:
            return
        state.allow(replace(allowance, most=0))
    logger.warning("pool %r: the lease runs out by which it holds connections of the budget", state.target)
    resize(state)


def look(state: State) -> float:
    """Break off what is used beyond the lease's end; when to look again, or infinity."""
    now = monotonic()
    with state.lock:
        allowance = state.allowance
        if allowance is None or now < allowance.lapses:
            return inf if allowance is None else allowance.lapses
        if now < allowance.ends:
            return allowance.ends
        # Whatever is granted from now on, others may have had this room meanwhile.
        over = [slot for slot in state.out if slot.broken_off != slot.epoch]
        for slot in over:
            slot.broken_off = slot.epoch
    for slot in over:
        _break_off(state, slot, slot.broken_off)
    return inf


def _break_off(state: State, slot: Slot, epoch: int) -> None:
    """End a conversation that a borrower is in the middle of; they give the connection back, or lose it as dead."""
    with state.lock:
        if slot not in state.out or slot.epoch != epoch:
            return  # given back meanwhile
    logger.warning("pool %r: a connection in use is broken off, since the lease is over", state.target)
    state.driver.sever(slot.conn)
