"""Connections that nobody will give back: how they are noticed, and what becomes of them."""

from __future__ import annotations

import asyncio
import gc
import logging
from collections.abc import Callable, Iterable
from functools import partial
from sys import getrefcount
from time import monotonic
from typing import Any

from poolmgr.pools.aio.forgotten import is_suspended, users_of
from poolmgr.pools.owners import has_left, is_alive, name_of, running
from poolmgr.targets.postgresql.connection import PooledConnection
from poolmgr.targets.postgresql.session import SessionEntry
from poolmgr.targets.postgresql.state import PoolState
from poolmgr.targets.postgresql.work import in_worker

logger = logging.getLogger("poolmgr.pool")

#: Seconds after which whoever was handed a connection to give back is done with it.
_IN_A_MOMENT = 0.02


def reclaim(state: PoolState) -> None:
    """Take back what a borrower holds that has ended, that rests after its request, or that has lost hold of it.

    Such a connection is closed rather than cleaned: whatever still refers to it must not reach its next owner.
    """
    if lost := state.pool.take_back_lost():
        state.count(reclaimed=lost, closed=lost)
        logger.warning("pool %r: %d lost by borrowers that were interrupted, and replaced", state.target, lost)
    _take_back_dropped(state)
    with state.pool._lock:
        held = [(conn, conn.entry.owner) for conn in state.out]
    state.silence.keep_only({conn.entry for conn, _ in held})
    codes = running() if held else {}
    for conn, owner in held:
        try:
            if owner is not None and has_left(conn.entry, owner, codes) and not _goes_on(state, conn.entry, owner):
                what = "held it after its request was over" if is_alive(owner) else "ended without giving it back"
                _take_back(state, conn, partial(_left, conn, owner), f"{name_of(owner)} {what}")
        except Exception:  # an owner's own code; it must not keep the others' connections from coming back
            _wonder(state, owner)


def _goes_on(state: PoolState, entry: SessionEntry, owner: Any) -> bool:
    """Whether another goes on with what a task borrowed that has ended, such as one that ``asyncio.wait_for()`` made.

    Code that waits may, and objects of the site's and of libraries; frames of calls that are over, kept by an error, may not.
    """
    loan = None if entry.loan is None else entry.loan()
    if loan is None or not isinstance(owner, asyncio.Task) or owner.get_loop().is_closed():
        return False
    if not state.silence.lasts(entry, loan.said):
        return True
    del loan
    # What a library's objects keep of each other, as after a task that was cancelled, is nobody's.
    gc.collect()
    if (loan := entry.loan()) is None:
        return False
    return any(is_suspended(user) or loan.is_kept_by(user) for user in users_of(loan))


def look_for_dropped(state: PoolState) -> None:
    """Do so in a moment: who had a connection before was perhaps handed it by its borrower, to give back."""
    in_worker(state.pool, partial(_take_back_dropped, state), _IN_A_MOMENT)


def _take_back_dropped(state: PoolState) -> None:
    for conn in _dropped(state):
        _take_back(state, conn, lambda: True, "somebody dropped it without giving it back")


#: Classes of owners that could not be asked, each of which is reported once.
_odd: set[type] = set()


def _wonder(state: PoolState, owner: Any) -> None:
    if type(owner) not in _odd:
        _odd.add(type(owner))
        logger.warning(
            "pool %r: whether a %s still runs can't be told; what it holds stays with it",
            state.target,
            type(owner).__qualname__,
            exc_info=True,
        )


def _left(conn: PooledConnection, owner: Any) -> bool:
    """Asked again with the lock held: a thread that rested may have gone back to work, for which it needs the lock."""
    return conn.entry.owner is owner and has_left(conn.entry, owner, running())


def _take_back(state: PoolState, conn: PooledConnection, really: Callable[[], bool], why: str) -> None:
    with state.pool._lock:
        if conn not in state.out or not really():
            return
        conn.entry.owner = None
        conn.entry.epoch += 1
        state.out.discard(conn)
        state.uses.end(conn.entry, monotonic())
        state.counts["reclaimed"] += 1
        state.counts["closed"] += 1
    # Where the pool closes it is no loss to anybody: a script's threads need not give back before the script ends.
    level = logging.INFO if state.retired else logging.WARNING
    logger.log(level, "pool %r: a connection is taken back: %s", state.target, why)
    state.pool.give_up(conn)


def _references(items: Iterable[Any]) -> list[int]:
    return [getrefcount(each) for each in items]


def _dropped(state: PoolState) -> list[PooledConnection]:
    """What is checked out and that nobody refers to any more, as after an exception out of a signal handler."""
    # How many there are to what nobody has but the set that it is in: Pythons differ in it, and so do profilers.
    alone = _references({object()})[0]
    with state.pool._lock:
        counted = zip(state.out, _references(state.out), strict=True)
        return [conn for conn, references in counted if references <= alone]
