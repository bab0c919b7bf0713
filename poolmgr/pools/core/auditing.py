"""Are the books right? An exception out of a signal handler may come between any two steps of a borrower's thread.

What it leaves half done is set right by looking at what is really there, since no order of steps is safe from it.
"""

from __future__ import annotations

import logging

from poolmgr.pools.core.leaving import give_up, see_off
from poolmgr.pools.core.state import ROUNDS, State

logger = logging.getLogger("poolmgr.pool")


def audit(state: State) -> None:
    """One round. What is between two steps just now looks the same, so that it counts when some rounds have found it."""
    if not (state.workers.at_rest() and state.closers.at_rest()):
        with state.lock:
            state.unaccounted.clear()
            state.stray.clear()
        return
    with state.lock:
        state.living -= state.leaving
        # Nobody connects: what is noted as under way is not.
        state.unaccounted.append(state.places - len(state.living) - len(state.leaving))
        if lost := max(0, min(state.unaccounted)) if len(state.unaccounted) == ROUNDS else 0:
            state.places -= lost
            state.connecting.clear()
            state.unaccounted.clear()
        # Nobody has these, nobody sees them off.
        seen = {*state.living, *state.leaving} - {*state.idle} - state.out
        state.stray = {slot: state.stray.get(slot, 0) + 1 for slot in seen}
        late = [slot for slot, rounds in state.stray.items() if rounds >= ROUNDS]
        leaving = [slot for slot in late if slot in state.leaving]
    for slot in late:
        if slot not in leaving:
            give_up(state, slot)
    see_off(state, leaving)
    if lost:
        logger.warning(
            "pool %r: %d places were lost by borrowers that were interrupted, and are free again", state.target, lost
        )
