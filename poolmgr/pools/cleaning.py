"""What becomes of a connection that comes back with more than a clean slate."""

from __future__ import annotations

import logging
from time import monotonic
from typing import TYPE_CHECKING

from psycopg.pq import TransactionStatus

from poolmgr.pools import housekeeping
from poolmgr.pools.connection import PooledConnection
from poolmgr.pools.entry import EXTENDS, INDELIBLE
from poolmgr.pools.liveness import PATIENCE, ask
from poolmgr.pools.parting import is_busy
from poolmgr.pools.work import in_worker
from poolmgr.secrets import scrub_unread

if TYPE_CHECKING:
    from poolmgr.pools.elastic import ElasticPool
    from poolmgr.pools.managed import ManagedPool

logger = logging.getLogger("poolmgr.pool")

_OPEN = frozenset({TransactionStatus.INTRANS, TransactionStatus.INERROR})


def put_away(managed: ManagedPool, conn: PooledConnection) -> None:
    """Roll back, clean, replace or close a connection that its borrower has just given up."""
    pool, entry = managed.pool, conn.entry
    if EXTENDS in entry.pins:
        _greet_all_again(pool)
    if conn.pgconn.transaction_status in _OPEN and not _roll_back(managed, conn):
        _dispose(managed, conn)
    elif is_busy(conn):
        logger.warning("pool %r: a connection came back in the middle of a statement and is closed", managed.target)
        _dispose(managed, conn)
    elif pool._closed:
        _dispose(managed, conn)
    elif conn.closed:
        conn.broke_in_use()
        _dispose(managed, conn)
        # What broke this connection may have broken the idle ones too.
        managed.count(found_dead=housekeeping.sweep(managed))
    elif conn.is_entangled:
        logger.warning("pool %r: a connection came back in the middle of a psycopg block and is closed", managed.target)
        _dispose(managed, conn)
    elif not entry.pins.isdisjoint(INDELIBLE):
        _dispose(managed, conn)
    else:
        if not conn.autocommit:
            conn.autocommit = True
        if entry.pins or pool._reset:
            in_worker(pool, lambda: clean(managed, conn))
        elif housekeeping.is_old(pool, entry):
            in_worker(pool, lambda: housekeeping.replace(managed, conn))
        else:
            pool._add_to_pool(conn)


def _dispose(managed: ManagedPool, conn: PooledConnection) -> None:
    managed.pool.give_up(conn)
    managed.count(closed=1)


def _roll_back(managed: ManagedPool, conn: PooledConnection) -> bool:
    try:
        ask(conn, "ROLLBACK", monotonic() + PATIENCE)
        conn.rolled_back()
    except Exception as ex:
        logger.warning(
            "pool %r: a rollback failed, the connection is closed: %s", managed.target, scrub_unread(str(ex))
        )
        managed.count(found_dead=housekeeping.sweep(managed))
        return False
    return True


def clean(managed: ManagedPool, conn: PooledConnection) -> None:
    """Wipe every trace of the last borrower, then make the connection as it was when new; close it if that fails."""
    pool, entry = managed.pool, conn.entry
    if pool._closed:
        _dispose(managed, conn)
        return
    try:
        ask(conn, "DISCARD ALL", monotonic() + PATIENCE)
        conn.make_anew()
        if pool._reset:
            managed.prepare(conn, pool._reset)
        managed._configure_new(conn)
        _expect_idle(conn)
    except Exception as ex:
        logger.warning(
            "pool %r: cleaning failed, the connection is replaced: %s", managed.target, scrub_unread(str(ex))
        )
        _dispose(managed, conn)
        return
    entry.pins.clear()
    entry.held = 0
    entry.greeted = None
    managed.count(cleaned=1)
    if housekeeping.is_old(pool, entry):
        # Only now: where the connect fails, this one stays in service.
        housekeeping.replace(managed, conn)
    else:
        pool._add_to_pool(conn)


def _greet_all_again(pool: ElasticPool) -> None:
    with pool._lock:
        for other in list(pool.living):
            other.entry.greeted = None


def _expect_idle(conn: PooledConnection) -> None:
    if conn.pgconn.transaction_status != TransactionStatus.IDLE:
        raise RuntimeError("the connection was left inside a transaction")
