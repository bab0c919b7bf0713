"""Is a connection that was just taken fit to be handed out?"""

from __future__ import annotations

import logging
from collections.abc import Callable
from math import inf
from time import monotonic
from typing import TYPE_CHECKING, Any

from psycopg.pq import TransactionStatus

from poolmgr.pools.connection import PooledConnection
from poolmgr.pools.diagnosis import diagnose
from poolmgr.pools.liveness import PATIENCE, NoAnswer, has_hung_up, validate
from poolmgr.pools.spec import PoolSpec
from poolmgr.secrets import scrub_unread

if TYPE_CHECKING:
    from poolmgr.pools.managed import ManagedPool

logger = logging.getLogger("poolmgr.pool")

#: Of a pool, a connection, the time now, and the borrower's seconds left (None: the profile's) what is wrong with it.
Fault = Callable[["ManagedPool", PooledConnection, float, "float | None"], str]
#: Of the faults, the one that a fresh connection most likely has too.
REFUSED_BY_SITE = "refused by the site's check"


def fault(managed: ManagedPool, conn: PooledConnection, now: float, timeout: float | None) -> str:
    """A look at the connection's socket, and a question where one is due.

    Empty when it works, ``hung up``, ``silent`` or ``refused`` when not.
    """
    spec = managed.spec
    if spec.validation == "off":
        return ""
    entry = conn.entry
    news = entry.has_news(0)
    doubtful = spec.validate_after_idle and now - entry.idle_since >= spec.validate_after_idle
    if not news and not doubtful and spec.validation == "socket":
        return ""
    # At most half of what is left, so that a connection that is silent leaves time to try another.
    left = spec.connection_timeout if timeout is None else timeout
    try:
        if news and has_hung_up(conn):
            return "hung up"
        validate(conn, spec.validation_query, monotonic() + min(PATIENCE, left / 2))
    except NoAnswer:
        return "silent"
    except Exception as ex:
        return "" if is_only_the_query(managed, conn, ex) else "refused"
    except BaseException:  # the borrower is being stopped, as by a KeyboardInterrupt
        managed.give_back(conn)
        raise
    return ""


def trusted(spec: PoolSpec, finds: Fault) -> float:
    """The seconds of idleness below which ``finds`` only looks at the socket; none where it asks more each time."""
    return (spec.validate_after_idle or inf) if finds is fault and spec.validation == "socket" else -inf


def with_check(check: Callable[[Any], None]) -> Fault:
    """As ``fault``, and then what the site's own ``check`` says: it raises where the connection won't do."""

    def fault_by_site(managed: ManagedPool, conn: PooledConnection, now: float, timeout: float | None) -> str:
        if found := fault(managed, conn, now, timeout):
            return found
        try:
            check(conn)
        except Exception as ex:
            logger.info("pool %r: the site's check refuses a connection: %s", managed.target, scrub_unread(str(ex)))
            return REFUSED_BY_SITE
        except BaseException:
            managed.give_back(conn)
            raise
        return ""

    return fault_by_site


def is_only_the_query(managed: ManagedPool, conn: PooledConnection, error: Exception) -> bool:
    """Whether a failed validation is the query's own fault: a fresh connection that the server answers fails it too.

    Else a slip in the query would cost every checkout a connect.
    """
    query = managed.spec.validation_query
    if conn.pgconn.transaction_status != TransactionStatus.IDLE:
        return False
    if managed.wrong_query != query and conn.entry.epoch == 0:
        managed.wrong_query = query
        why = diagnose(error).sentence
        logger.warning("pool %r: the validation query %r fails on a fresh connection: %s", managed.target, query, why)
    return managed.wrong_query == query
