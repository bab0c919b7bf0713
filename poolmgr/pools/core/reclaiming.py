"""Connections that nobody will give back: how they are noticed, and what becomes of them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from poolmgr.pools.core.leaving import give_up
from poolmgr.pools.core.slot import Slot, referrers
from poolmgr.pools.core.state import State
from poolmgr.pools.owners import name_of, running

logger = logging.getLogger("poolmgr.pool")


def reclaim(state: State) -> None:
    """Take back what a borrower holds that has ended, or that has lost hold of it.

    Such a connection is closed rather than used again: whatever still refers to it must not reach its next owner.
    """
    take_back_dropped(state)
    with state.lock:
        held = [(slot, slot.owner) for slot in state.out]
    codes = running() if held else {}
    for slot, owner in held:
        try:
            if owner is not None and state.has_left(slot, owner, codes):
                _take_back(state, slot, partial(_is, slot, owner), f"{name_of(owner)} ended without giving it back")
        except Exception:  # an owner's own code; it must not keep the others' connections from coming back
            logger.debug("pool %r: whether an owner still runs can't be told", state.target, exc_info=True)


def take_back_dropped(state: State) -> None:
    """Take back what is checked out and that nobody refers to any more, as after an exception out of a signal handler."""
    with state.lock:
        _recount(state.idle)
        counted = list(zip(state.out, referrers(state.out), strict=True))
    for slot, (of_conn, of_slot) in counted:
        if of_conn <= slot.referrers[0] and of_slot <= slot.referrers[1] and state.is_dropped(slot):
            _take_back(state, slot, lambda: True, "somebody dropped it without giving it back")


def _is(slot: Slot, owner: Any) -> bool:
    return slot.owner is owner


def _take_back(state: State, slot: Slot, really: Callable[[], bool], why: str) -> None:
    with state.lock:
        if slot not in state.out or not really() or not state.take_back(slot):
            return
        state.counts["reclaimed"] += 1
    # Where the pool closes it is no loss to anybody: a script's threads need not give back before the script ends.
    level = logging.INFO if state.retired else logging.WARNING
    logger.log(level, "pool %r: a connection is taken back: %s", state.target, why)
    give_up(state, slot)


def _recount(idle: Iterable[Slot]) -> None:
    # What the library had for itself may have gone since; who has just given back may still have it in a local variable.
    for slot, number in zip(idle, referrers(idle), strict=True):
        slot.referrers = min(slot.referrers[0], number[0]), min(slot.referrers[1], number[1])
