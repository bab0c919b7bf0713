"""Is a connection that was just taken fit to be handed out?"""

from __future__ import annotations

import logging
from time import monotonic

from poolmgr.pools.core.driver import NoAnswer
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
    except Exception as ex:
        logger.debug("pool %r: a connection is of no use: %s", state.target, state.driver.diagnose(ex).sentence)
        return "refused"
    return ""
