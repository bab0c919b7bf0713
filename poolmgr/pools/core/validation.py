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


def fault(state: State, slot: Slot, now: float, timeout: float | None) -> str:
    """A look at the connection's socket, and a question where one is due; ``timeout`` are the borrower's seconds left.

    Empty when it works, ``hung up``, ``silent`` or ``refused`` when not.
    """
    spec = state.spec
    if spec.validation == "off":
        return ""
    if slot.has_news(0) and state.driver.gone(slot.conn):
        return "hung up"
    doubtful = spec.validate_after_idle and now - slot.idle_since >= spec.validate_after_idle
    if not doubtful and spec.validation == "socket":
        return ""
    # At most half of what is left, so that a connection that is silent leaves time to try another.
    left = spec.connection_timeout if timeout is None else timeout
    try:
        state.driver.ask(slot.conn, spec.validation_query, monotonic() + min(PATIENCE, left / 2))
    except NoAnswer:
        return "silent"
    except Refused as ex:
        return "" if is_only_the_query(state, slot, ex) else "refused"
    except Exception as ex:
        logger.debug("pool %r: a connection is of no use: %s", state.target, state.driver.diagnose(ex).sentence)
        return "refused"
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
