"""Is a connection that was just taken fit to be handed out?"""

from __future__ import annotations

import logging
from time import monotonic

from poolmgr.pools.core.driver import NoAnswer, Refused
from poolmgr.pools.core.slot import Slot
from poolmgr.pools.core.state import State

logger = logging.getLogger("poolmgr.pool")

#: The longest that a question may take, in seconds.
PATIENCE = 5.0
#: What a look finds that only the server can settle.
DOUBTFUL = "doubtful"


def look(state: State, slot: Slot, now: float) -> str:
    """A look at the connection's socket: empty when it works, ``hung up``, or ``DOUBTFUL`` when the server is to be asked."""
    spec = state.spec
    if spec.validation == "off":
        return ""
    if slot.has_news(0) and state.driver.gone(slot.conn):
        return "hung up"
    doubtful = spec.validate_after_idle and now - slot.idle_since >= spec.validate_after_idle
    return "" if not doubtful and spec.validation == "socket" else DOUBTFUL


def answer(state: State, slot: Slot, timeout: float | None) -> str:
    """Ask the server; ``timeout`` are the borrower's seconds left. Empty when it answers, else ``silent`` or ``refused``."""
    try:
        state.driver.ask(slot.conn, state.spec.validation_query, monotonic() + seconds_for(state, timeout))
    except Exception as ex:
        return fault_of(state, slot, ex)
    return ""


def is_only_the_query(state: State, slot: Slot, refused: Refused) -> bool:
    """Whether a refused question is the query's own fault: a fresh connection that works gets the same answer.

    Else a slip in the query would cost every checkout a connect.
    """
    query = state.spec.validation_query
    if state.wrong_query != query and slot.epoch == 0:
        state.wrong_query = query
        why = state.driver.diagnose(refused.__cause__ or refused).sentence
        logger.warning("pool %r: the validation query %r fails on a fresh connection: %s", state.target, query, why)
    return state.wrong_query == query


def seconds_for(state: State, timeout: float | None) -> float:
    """At most half of what is left, so that a connection that is silent leaves time to try another."""
    return min(PATIENCE, (state.spec.connection_timeout if timeout is None else timeout) / 2)


def fault_of(state: State, slot: Slot, error: Exception) -> str:
    """What it says of a connection that a question ended so; empty where it works all the same."""
    if isinstance(error, NoAnswer):
        return "silent"
    if isinstance(error, Refused) and is_only_the_query(state, slot, error):
        return ""
    logger.debug("pool %r: a connection is of no use: %s", state.target, state.driver.diagnose(error).sentence)
    return "refused"
