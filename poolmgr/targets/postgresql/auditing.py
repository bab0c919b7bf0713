"""Are the books right? An exception out of a signal handler may come between any two steps of a borrower's thread.

What it leaves half done is set right by looking at what is really there, since no order of steps is safe from it.
"""

from __future__ import annotations

import logging
from contextlib import suppress

from poolmgr.targets.postgresql.parting import closer
from poolmgr.targets.postgresql.state import ROUNDS, PoolState

logger = logging.getLogger("poolmgr.pool")

#: Seconds past its end after which nobody is at a parting any more.
_OVERDUE = 1.0


def audit(state: PoolState, now: float) -> None:
    """One round."""
    pool = state.pool
    with pool._lock:
        overdue = [parting for parting in (*pool.leaving, *pool.passing) if now > parting.ends + _OVERDUE]
        state.unaccounted.append(pool.unaccounted())
        state.in_vain.append(pool.grows_in_vain())
        # In each of some rounds: what is between two steps just now looks the same.
        lost = min(state.unaccounted) if len(state.unaccounted) == ROUNDS else 0
        if lost:
            pool._nconns -= lost
            state.unaccounted.clear()
        if len(state.in_vain) == ROUNDS and all(state.in_vain):
            pool._growing = False
            state.in_vain.clear()
        if pool._waiting:
            pool._maybe_grow_pool()
    for parting in overdue:
        with suppress(Exception):  # closed already, most likely
            parting.connection.close()
        closer().hand_over(parting)
    if lost:
        logger.warning(
            "pool %r: %d places were lost by borrowers that were interrupted, and are free again", state.target, lost
        )
