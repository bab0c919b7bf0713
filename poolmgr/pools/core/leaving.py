"""Connections on their way out: each keeps its place until the server has closed its end."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from functools import partial
from time import monotonic

from poolmgr.pools.core.slot import Slot
from poolmgr.pools.core.state import State

logger = logging.getLogger("poolmgr.pool")

#: The longest that a place waits for the server, in seconds. Less where borrowers have less patience: after a connection
#: that was silent they still want the one that follows it.
PATIENCE = 5.0
_PART_OF_TIMEOUT = 0.25


def give_up(state: State, slot: Slot) -> None:
    """Part from a connection that nobody owns. Its place is free when it is gone."""
    with state.lock:
        leave(state, slot)
    see_off(state, [slot])


def leave(state: State, slot: Slot) -> None:
    """Note that ``slot`` is about to be parted from, for ``see_off()`` to do. Called with the lock held."""
    state.leaving.add(slot)
    state.living.discard(slot)
    state.counts["closed"] += 1


def see_off(state: State, slots: Iterable[Slot]) -> None:
    """Close what has left, in threads of their own."""
    deadline = monotonic() + patience(state)
    for slot in slots:
        state.closers.run(partial(_close, state, slot, deadline))


def resize(state: State) -> None:
    """Follow the settings and the lease: more room serves those who wait already, less closes idle connections at once."""
    surplus = []
    with state.lock:
        while state.present > state.most and state.idle:
            surplus.append(slot := state.idle.popleft())
            leave(state, slot)
    see_off(state, surplus)
    state.grow()


def patience(state: State) -> float:
    """Seconds for which a server is given time to close its end."""
    return min(PATIENCE, state.spec.connection_timeout * _PART_OF_TIMEOUT)


def close(state: State, slot: Slot, deadline: float) -> None:
    """Close here and now, and wait; what is not seen to go in time is counted and told."""
    try:
        gone = state.driver.close(slot.conn, deadline)
    except Exception:
        logger.exception("pool %r: a connection could not be closed in good order", state.target)
        gone = False
    if not gone:
        state.count(left_behind=1)
        logger.warning(
            "pool %r: the server did not close its end %s in time after being asked to; its place is used again",
            state.target,
            slot.named,
        )


def _close(state: State, slot: Slot, deadline: float) -> None:
    try:
        close(state, slot, deadline)
    finally:
        with state.changed:
            state.leaving.discard(slot)
            state.places -= 1
            state.changed.notify_all()
        state.grow()
