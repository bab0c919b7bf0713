"""A checkout that finds nothing fit at once: it waits, looks at what it is given, and says why it got nothing."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic, sleep

import psycopg_pool

from poolmgr.exceptions import CheckoutError, ConfigurationError
from poolmgr.pools import waits
from poolmgr.secrets import replica
from poolmgr.targets.postgresql import explain, housekeeping, leasing, validation
from poolmgr.targets.postgresql.connecting import RETRY_WHILE_WAITED
from poolmgr.targets.postgresql.connection import PooledConnection
from poolmgr.targets.postgresql.errors import PoolClosed, TooManyWaiting
from poolmgr.targets.postgresql.preparing import present_preparation
from poolmgr.targets.postgresql.state import PoolState
from poolmgr.targets.postgresql.waiting import Place


class Glance(float):
    """The timeout of one who goes another way when it is over, and so is no request that got no connection."""


GLANCE = Glance(0.05)


def checkout(
    state: PoolState, asked: float, timeout: float | None, put_back: Callable[[PooledConnection], None]
) -> PooledConnection:
    """What ``ManagedPool.checkout()`` does when a glance has not been enough."""
    if timeout is None:
        timeout = state.spec.connection_timeout
    if (preparation := present_preparation()) is not None and preparation.target == state.target:
        raise ConfigurationError(
            f"what prepares a new connection to {state.target!r} asks its pool for another, which it would wait for in"
            " vain; let it use the one that it was given"
        )
    deadline = asked + timeout
    if asked >= state.lapses:
        # Before anybody is served: this process may have been frozen for longer than its lease.
        leasing.lapse(state)
    has_waited = False
    while True:
        place = Place(state.current_owner())
        conn = _next(state, place, asked, max(0.001, deadline - monotonic()), timeout)
        has_waited = has_waited or place.has_waited
        now = monotonic()
        try:
            fault = state.fault(state, conn, now, deadline - now)
        except BaseException:
            put_back(conn)
            raise
        if not fault:
            state.wait_time.add(monotonic() - asked)
            if has_waited:
                waits.tell(state.target, asked)
            return conn
        discard(state, conn, fault)
        if fault == validation.REFUSED_BY_SITE:
            # A fresh one is refused most likely too, and each costs the server a connect.
            state.refused_at = now
            sleep(max(0.0, min(RETRY_WHILE_WAITED, deadline - monotonic())))


def _next(state: PoolState, place: Place, asked: float, left: float, timeout: float) -> PooledConnection:
    """The next connection that is to be had within the seconds ``left`` of ``timeout``."""
    try:
        return state.pool.wait_for(left, place)
    except Exception as ex:
        error = failed(state, ex, asked, timeout)
    try:
        # Not before the old error is over and done with, whose frames would else be its context.
        raise error
    finally:
        del error  # else it and this frame would keep each other alive


def failed(state: PoolState, ex: Exception, asked: float, timeout: float) -> CheckoutError:
    """What to raise instead of ``ex``, of a checkout that was ``asked`` for then.

    Its cause is the failed connect's words, without a traceback.
    """
    if isinstance(ex, psycopg_pool.PoolClosed):
        closed = PoolClosed(f"the pool of {state.target!r} is closed", state.target)
        waits.tell(state.target, asked, closed)
        return closed
    cause, is_late = None, isinstance(ex, psycopg_pool.PoolTimeout)
    ex.__traceback__ = None  # its frames refer to it
    if isinstance(ex, psycopg_pool.TooManyRequests):
        error = explain.too_many(state, TooManyWaiting)
    elif is_late:
        cause, error = state.pool.last_error, explain.timed_out(state, timeout)
    else:  # what a failed connect passes on to those who wait
        cause, error = ex, explain.refused(state, ex)
    error.__cause__ = cause and replica(cause)
    if isinstance(timeout, Glance):
        return error
    if is_late:
        state.missed(monotonic() - asked)
    else:
        state.count(checkout_errors=1)
    waits.tell(state.target, asked, error)
    return error


def discard(state: PoolState, conn: PooledConnection, fault: str) -> None:
    """Drop a dead connection just taken, and every idle one that is dead or doubtful with it."""
    with state._lock:
        conn.entry.owner = None
        conn.entry.epoch += 1
        state.out.discard(conn)
    state.pool.give_up(conn)
    state.count(closed=1, found_dead=1 + housekeeping.sweep(state, silent=fault == "silent"))
