"""What becomes of a connection that comes back with more than a clean slate."""

from __future__ import annotations

import logging
from time import monotonic

from psycopg.pq import TransactionStatus

from poolmgr.pools.sql.pinning import EXTENDS, INDELIBLE, TRACES
from poolmgr.secrets import scrub_unread
from poolmgr.targets.postgresql import housekeeping
from poolmgr.targets.postgresql.configuring import configure, prepare
from poolmgr.targets.postgresql.connection import PooledConnection
from poolmgr.targets.postgresql.elastic import ElasticPool
from poolmgr.targets.postgresql.liveness import PATIENCE, ask
from poolmgr.targets.postgresql.parting import is_busy
from poolmgr.targets.postgresql.preparing import expect_idle
from poolmgr.targets.postgresql.replacing import is_old, replace
from poolmgr.targets.postgresql.session import SPOILT
from poolmgr.targets.postgresql.state import PoolState
from poolmgr.targets.postgresql.telling import tell_of_traces
from poolmgr.targets.postgresql.work import in_worker

logger = logging.getLogger("poolmgr.pool")

_BEYOND_CLEANING = INDELIBLE | {SPOILT}
_OPEN = frozenset({TransactionStatus.INTRANS, TransactionStatus.INERROR})


def put_away(state: PoolState, conn: PooledConnection) -> None:
    """Roll back, clean, replace or close a connection that its borrower has just given up."""
    pool, entry = state.pool, conn.entry
    if EXTENDS in entry.pins:
        _greet_all_again(pool)
    if conn.pgconn.transaction_status in _OPEN and not _roll_back(state, conn):
        _dispose(state, conn)
    elif is_busy(conn):
        logger.warning("pool %r: a connection came back in the middle of a statement and is closed", state.target)
        _dispose(state, conn)
    elif pool._closed:
        _dispose(state, conn)
    elif conn.closed:
        conn.broke_in_use()
        _dispose(state, conn)
        # What broke this connection may have broken the idle ones too.
        state.count(found_dead=housekeeping.sweep(state))
    elif conn.is_entangled:
        logger.warning("pool %r: a connection came back in the middle of a psycopg block and is closed", state.target)
        _dispose(state, conn)
    elif entry.behind_pooler and entry.pins:
        # A DISCARD ALL may reach anybody's server connection. What the pooler keeps for this client ends with it.
        tell_of_traces(state, entry.pins & TRACES)
        _dispose(state, conn)
    elif entry.is_spoilt or not entry.pins.isdisjoint(_BEYOND_CLEANING):
        _dispose(state, conn)
    else:
        if not conn.autocommit:
            conn.autocommit = True
        if entry.pins or pool._reset:
            in_worker(pool, lambda: clean(state, conn))
        elif is_old(pool, entry):
            in_worker(pool, lambda: replace(state, conn))
        else:
            pool._add_to_pool(conn)


def put_away_soon(state: PoolState, conn: PooledConnection) -> None:
    """The same without waiting, for a borrower's event loop."""
    if state.pool._closed:
        _dispose(state, conn)  # the server rolls back
    else:
        in_worker(state.pool, lambda: put_away(state, conn))


def _dispose(state: PoolState, conn: PooledConnection) -> None:
    state.pool.give_up(conn)
    state.count(closed=1)


def _roll_back(state: PoolState, conn: PooledConnection) -> bool:
    try:
        ask(conn, "ROLLBACK", monotonic() + PATIENCE)
        conn.rolled_back()
    except Exception as ex:
        logger.warning("pool %r: a rollback failed, the connection is closed: %s", state.target, scrub_unread(str(ex)))
        state.count(found_dead=housekeeping.sweep(state))
        return False
    return True


def clean(state: PoolState, conn: PooledConnection) -> None:
    """Wipe every trace of the last borrower, then make the connection as it was when new; close it if that fails."""
    pool, entry = state.pool, conn.entry
    if pool._closed:
        _dispose(state, conn)
        return
    try:
        if not entry.behind_pooler:
            ask(conn, "DISCARD ALL", monotonic() + PATIENCE)
            conn.make_anew()
        if pool._reset:
            prepare(state, conn, pool._reset)
        configure(state, conn)
        expect_idle(conn)
    except Exception as ex:
        logger.warning("pool %r: cleaning failed, the connection is replaced: %s", state.target, scrub_unread(str(ex)))
        _dispose(state, conn)
        return
    entry.pins.clear()
    entry.held = 0
    entry.greeted = None
    state.count(cleaned=1)
    if is_old(pool, entry):
        # Only now: where the connect fails, this one stays in service.
        replace(state, conn)
    else:
        pool._add_to_pool(conn)


def _greet_all_again(pool: ElasticPool) -> None:
    with pool._lock:
        for other in list(pool.living):
            other.entry.greeted = None
