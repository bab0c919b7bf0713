"""Is a connection that was just taken fit to be handed out?"""

from __future__ import annotations

import logging
from collections.abc import Callable
from math import inf
from time import monotonic
from typing import Any

from psycopg.pq import TransactionStatus

from poolmgr.pools.diagnosis import diagnose
from poolmgr.pools.spec import PoolSpec
from poolmgr.secrets import scrub_unread
from poolmgr.targets.postgresql.connection import PooledConnection
from poolmgr.targets.postgresql.liveness import PATIENCE, NoAnswer, has_hung_up, validate
from poolmgr.targets.postgresql.state import PoolState

logger = logging.getLogger("poolmgr.pool")

#: Of a pool, a connection, the time now, and the borrower's seconds left (None: the profile's) what is wrong with it.
Fault = Callable[[PoolState, PooledConnection, float, "float | None"], str]
#: Of the faults, the one that a fresh connection most likely has too.
REFUSED_BY_SITE = "refused by the site's check"
#: What a look finds that only the server can settle.
DOUBTFUL = "doubtful"


def fault(state: PoolState, conn: PooledConnection, now: float, timeout: float | None) -> str:
    """A look at the connection's socket, and a question where one is due.

    Empty when it works, ``hung up``, ``silent`` or ``refused`` when not.
    """
    found = look(state, conn, now)
    if found != DOUBTFUL:
        return found
    try:
        validate(conn, state.spec.validation_query, monotonic() + seconds_for(state, timeout))
    except Exception as ex:
        return fault_of(state, conn, ex)
    return ""


def look(state: PoolState, conn: PooledConnection, now: float) -> str:
    """Empty when it works, ``hung up``, or ``DOUBTFUL`` when the server is to be asked."""
    spec = state.spec
    if spec.validation == "off":
        return ""
    entry = conn.entry
    news = entry.has_news(0)
    doubtful = spec.validate_after_idle and now - entry.idle_since >= spec.validate_after_idle
    if not news and not doubtful and spec.validation == "socket":
        return ""
    return "hung up" if news and has_hung_up(conn) else DOUBTFUL


def seconds_for(state: PoolState, timeout: float | None) -> float:
    """At most half of what is left, so that a connection that is silent leaves time to try another."""
    return min(PATIENCE, (state.spec.connection_timeout if timeout is None else timeout) / 2)


def fault_of(state: PoolState, conn: PooledConnection, error: Exception) -> str:
    """What it says of a connection that a question ended so; empty where it works all the same."""
    if isinstance(error, NoAnswer):
        return "silent"
    return "" if is_only_the_query(state, conn, error) else "refused"


def trusted(spec: PoolSpec, finds: Fault) -> float:
    """The seconds of idleness below which ``finds`` only looks at the socket; none where it asks more each time."""
    return (spec.validate_after_idle or inf) if finds is fault and spec.validation == "socket" else -inf


def with_check(check: Callable[[Any], None]) -> Fault:
    """As ``fault``, and then what the site's own ``check`` says: it raises where the connection won't do."""

    def fault_by_site(state: PoolState, conn: PooledConnection, now: float, timeout: float | None) -> str:
        return fault(state, conn, now, timeout) or refusal(state, conn, check)

    return fault_by_site


def refusal(state: PoolState, conn: PooledConnection, check: Callable[[Any], None]) -> str:
    """What the site's own ``check`` makes of a connection."""
    try:
        check(conn)
    except Exception as ex:
        logger.info("pool %r: the site's check refuses a connection: %s", state.target, scrub_unread(str(ex)))
        return REFUSED_BY_SITE
    return ""


def is_only_the_query(state: PoolState, conn: PooledConnection, error: Exception) -> bool:
    """Whether a failed validation is the query's own fault: a fresh connection that the server answers fails it too.

    Else a slip in the query would cost every checkout a connect.
    """
    query = state.spec.validation_query
    if conn.pgconn.transaction_status != TransactionStatus.IDLE:
        return False
    if state.wrong_query != query and conn.entry.epoch == 0:
        state.wrong_query = query
        why = diagnose(error).sentence
        logger.warning("pool %r: the validation query %r fails on a fresh connection: %s", state.target, query, why)
    return state.wrong_query == query
