"""One checkout, looked into and acted on from outside."""

from __future__ import annotations

from functools import partial
from threading import Thread
from time import monotonic

import psycopg
from psycopg.pq import TransactionStatus

from poolmgr.pools import checkouts
from poolmgr.pools.cancelling import CancelStop
from poolmgr.pools.checkouts import NOTHING_RUNS, Checkout, LeftAlone
from poolmgr.pools.entry import parsed
from poolmgr.pools.snapshots import holder
from poolmgr.pools.stopping import Stop
from poolmgr.targets.postgresql.connection import PooledConnection
from poolmgr.targets.postgresql.liveness import break_off
from poolmgr.targets.postgresql.state import PoolState
from poolmgr.targets.postgresql.view import held_by, told_of


def find(state: PoolState, name: str) -> Checkout | None:
    """The checkout of this name, if it is under way."""
    number, epoch = parsed(name)
    with state.pool._lock:
        conn = next((conn for conn in state.out if conn.entry.has(number, epoch)), None)
        if conn is None:
            return None
        held = held_by(conn)
    lock, entry = state.pool._lock, conn.entry
    return Checkout(
        holder(held, monotonic(), told_of(held.about)),
        held.owner,
        partial(checkouts.cancel, lock, entry, epoch, partial(_stop, conn)),
        partial(checkouts.end, lock, entry, epoch, partial(_sever, conn)),
    )


def _stop(conn: PooledConnection) -> Stop:
    if conn.pgconn.transaction_status != TransactionStatus.ACTIVE:
        raise LeftAlone(NOTHING_RUNS)
    try:
        return CancelStop(conn.pgconn)
    except psycopg.Error:  # closed by its borrower in this moment
        raise LeftAlone(NOTHING_RUNS) from None


def _sever(conn: PooledConnection) -> None:
    # It asks for some seconds, whatever its borrower says until they hear of it.
    Thread(target=break_off, args=[conn], name="poolmgr-deadline", daemon=True).start()
