"""Fresh connections in the place of old ones: after ``max_lifetime``, and when somebody has asked for it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from time import monotonic

from psycopg_pool.pool import AddConnection

from poolmgr.pools.diagnosis import diagnose
from poolmgr.pools.port import Recycled
from poolmgr.targets.postgresql.connecting import RETRY_WHILE_WAITED
from poolmgr.targets.postgresql.connection import PooledConnection
from poolmgr.targets.postgresql.elastic import ElasticPool
from poolmgr.targets.postgresql.session import SessionEntry
from poolmgr.targets.postgresql.state import PoolState

logger = logging.getLogger("poolmgr.pool")


def is_old(pool: ElasticPool, entry: SessionEntry) -> bool:
    """Whether a connection has outlived ``max_lifetime`` or a recycle."""
    return entry.generation != pool.generation or entry.expires <= monotonic()


def recycle(state: PoolState, timeout: float) -> Recycled:
    """Replace what is idle now and what is used as it returns, for up to ``timeout`` seconds."""
    pool, began = state.pool, monotonic()
    deadline = began + timeout
    with pool._lock:
        pool.generation += 1
        generation = pool.generation
        before = state.counts["renewed"]

    def is_left(conn: PooledConnection) -> bool:
        return conn.entry.generation < generation

    while True:
        for conn in pool.take_idle(is_left, 1):
            if error := replace(state, conn):
                return Recycled(state.counts["renewed"] - before, _count(state, is_left), diagnose(error).sentence)
        with state.changed:
            # What connects since before that is one more in a moment.
            left = _count(state, is_left) + state.replacing + sum(since <= began for since in pool.connecting)
            seconds = deadline - monotonic()
            if not left or seconds <= 0 or state.retired:
                return Recycled(state.counts["renewed"] - before, left)
            if not any(map(is_left, pool._pool)):
                # Not for all of it: one that breaks in use goes without notice.
                state.changed.wait(min(seconds, 0.5))


def replace(state: PoolState, conn: PooledConnection) -> Exception | None:
    """Replace ``conn``, which nobody owns; returns the error when that failed."""
    with state._lock:
        state.replacing += 1
    try:
        error = _swap(state.pool, conn)
        if error is None:
            state.count(closed=1, renewed=1)
        else:
            logger.info("pool %r: a connection could not be replaced: %s", state.target, diagnose(error).sentence)
    finally:
        with state.changed:
            state.replacing -= 1
            state.changed.notify_all()
    return error


def _swap(pool: ElasticPool, old: PooledConnection) -> Exception | None:
    """Put a fresh connection in the place of ``old``, which nobody owns.

    The fresh one is ready before the old one closes, unless the pool is at ``max_size``: then the old one is gone
    first, since the limit holds. When the connect fails its error is returned; ``old`` stays in service if it can,
    and else its place is filled as soon as the server lets us.
    """
    with pool._lock:
        room = pool._nconns < pool._max_size
        if room:
            pool._nconns += 1
    if not room:
        pool._close_connection(old)
    try:
        fresh = pool._connect()
    except Exception as ex:
        if room:
            with pool._lock:
                pool._nconns -= 1
            pool._add_to_pool(old)
        else:
            pool.schedule_task(AddConnection(pool), RETRY_WHILE_WAITED)
        return ex
    if room:
        pool.give_up(old)
    pool._add_to_pool(fresh)
    return None


def _count(state: PoolState, wanted: Callable[[PooledConnection], bool]) -> int:
    with state.pool._lock:
        return sum(map(wanted, list(state.pool.living)))
