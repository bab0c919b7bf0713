"""Checkout and return by a task."""

from __future__ import annotations

import asyncio
from functools import partial
from time import monotonic
from typing import Any

from poolmgr.pools import waits
from poolmgr.pools.forks import attend, here
from poolmgr.pools.labels import current_label
from poolmgr.pools.owners import owner_function
from poolmgr.targets.postgresql import leasing, validation
from poolmgr.targets.postgresql.asyncio.asking import validate
from poolmgr.targets.postgresql.asyncio.place import Awaited
from poolmgr.targets.postgresql.connecting import RETRY_WHILE_WAITED
from poolmgr.targets.postgresql.connection import PooledConnection
from poolmgr.targets.postgresql.lending import discard, failed
from poolmgr.targets.postgresql.managed import ManagedPool


def at_once(managed: ManagedPool) -> PooledConnection | None:
    """One that is idle and needs no question, if there is one; for a task of the running loop."""
    if not here:
        attend()
    asked = monotonic()
    if asked >= managed.lapses or managed.check is not None:
        return None
    conn = _idle(managed, asked, trusted=True)
    if conn is not None:
        managed.wait_time.add(monotonic() - asked)
    return conn


async def checkout(managed: ManagedPool, timeout: float | None) -> PooledConnection:
    """``ManagedPool.checkout()`` for a task of the running loop. Cancelled at whichever step, it takes nothing along."""
    if (conn := at_once(managed)) is not None:
        return conn
    asked = monotonic()
    if asked >= managed.lapses:
        # Before anybody is served: this process may have been frozen for longer than its lease.
        leasing.lapse(managed)
    elif (conn := _idle(managed, asked)) is not None and not await _is_unfit(managed, conn, asked, timeout):
        managed.wait_time.add(monotonic() - asked)
        return conn
    seconds = managed.spec.connection_timeout if timeout is None else timeout
    deadline = asked + seconds
    has_waited = False
    while True:
        place = Awaited(_owner())
        conn = await _next(managed, place, asked, max(0.001, deadline - monotonic()), seconds)
        has_waited = has_waited or place.has_waited
        now = monotonic()
        fault = await _is_unfit(managed, conn, now, deadline - now)
        if not fault:
            managed.wait_time.add(monotonic() - asked)
            if has_waited:
                waits.tell(managed.target, asked)
            return conn
        if fault == validation.REFUSED_BY_SITE:
            # A fresh one is refused most likely too, and each costs the server a connect.
            managed.refused_at = now
            await asyncio.sleep(max(0.0, min(RETRY_WHILE_WAITED, deadline - monotonic())))


def _owner() -> Any:
    return asyncio.current_task() or owner_function()()


def _idle(managed: ManagedPool, now: float, *, trusted: bool = False) -> PooledConnection | None:
    """One that is idle; ``trusted`` only if it was used a moment ago and its server is silent."""
    pool = managed.pool
    if not pool._pool:
        return None
    owner, label = _owner(), current_label()
    with managed._lock:
        if not pool._pool or pool.paused:
            return None
        entry = pool._pool[-1].entry
        # The look at the socket lets no other thread run, and so holds up nobody who wants the lock.
        if trusted and (now - entry.idle_since >= managed.trusted or entry.has_news(0)):
            return None
        conn = pool._pool.pop()
        entry.owner = owner
        entry.label = label
        entry.begin(now)
        managed.out.add(conn)
    conn._pool = pool
    return conn


async def _next(managed: ManagedPool, place: Awaited, asked: float, left: float, timeout: float) -> PooledConnection:
    """The next connection that is to be had. Whoever stops waiting leaves the queue and takes nothing along."""
    pool = managed.pool
    error = None
    try:
        pool.begin_request()
        conn = pool.take_or_queue(place, left)
        if conn is None:
            if not await place.come(left):
                pool.leave_queue(place)
            conn = place.outcome()
        conn._pool = pool
        return conn
    except Exception as ex:
        error = failed(managed, ex, asked, timeout)
    except BaseException:
        if not pool.leave_queue(place) and place.conn is not None:
            managed.put_back(place.conn, waits=False)
        raise
    try:
        # Not before the old error is over and done with, whose frames would else be its context.
        raise error
    finally:
        error = None  # else it and this frame would keep each other alive


async def _is_unfit(managed: ManagedPool, conn: PooledConnection, now: float, timeout: float | None) -> str:
    """Why a connection that was just taken may not be handed out, in which case it is dropped; empty when it may."""
    epoch = conn.entry.epoch
    looks: asyncio.Future[str] | None = None
    try:
        fault = validation.look(managed, conn, now)
        if fault == validation.DOUBTFUL:
            fault = await _answer(managed, conn, validation.seconds_for(managed, timeout))
        if not fault and managed.check is not None:
            # The site's own code, which may wait.
            looks = asyncio.get_running_loop().run_in_executor(None, validation.refusal, managed, conn, managed.check)
            fault = await asyncio.shield(looks)
    except BaseException:  # cancelled, and an answer may be under way
        give_back = partial(managed.put_back, conn, epoch, waits=False)
        if looks is None or looks.done():
            give_back()
        else:
            # Nobody can stop the thread: until it is done the connection is no one else's.
            looks.add_done_callback(lambda looked: give_back())
        raise
    if fault:
        discard(managed, conn, fault)
    return fault


async def _answer(managed: ManagedPool, conn: PooledConnection, seconds: float) -> str:
    try:
        await validate(conn, managed.spec.validation_query, seconds)
    except Exception as ex:
        return validation.fault_of(managed, conn, ex)
    return ""
