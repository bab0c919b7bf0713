"""What a pool does by itself: once a second in its scheduler's thread it decides, and leaves the I/O to its workers."""

from __future__ import annotations

import logging
from functools import partial
from math import ceil
from threading import Thread
from time import monotonic
from weakref import ref

from poolmgr.pools.diagnosis import diagnose
from poolmgr.targets.postgresql import sizing, telling
from poolmgr.targets.postgresql.auditing import audit
from poolmgr.targets.postgresql.connection import PooledConnection
from poolmgr.targets.postgresql.liveness import PATIENCE, break_off, validate
from poolmgr.targets.postgresql.reclaiming import reclaim
from poolmgr.targets.postgresql.replacing import is_old, replace
from poolmgr.targets.postgresql.state import PoolState
from poolmgr.targets.postgresql.validation import is_only_the_query
from poolmgr.targets.postgresql.work import in_worker

logger = logging.getLogger("poolmgr.pool")

INTERVAL = 1.0
#: How long what prepares a connection may take, in times of connection_timeout, and in seconds at the least.
_PREPARED_WITHIN, _AT_LEAST = 3.0, 5.0


class _Tick:
    """The periodic round; it holds the pool weakly, so that a dropped pool ends by itself."""

    def __init__(self, state: PoolState) -> None:
        self.state = ref(state)

    def __call__(self) -> None:
        state = self.state()
        if state is None:
            return
        if state.ended:
            state.pool.stop_threads()
            return
        try:
            if state.retired:
                reclaim(state)
            else:
                look_after(state)
        except Exception:
            logger.exception("pool %r: housekeeping failed; it goes on in %s s", state.target, INTERVAL)
        finally:
            state.pool._sched.enter(INTERVAL, self)


def start(state: PoolState) -> None:
    """Begin the rounds, once."""
    with state.pool._lock:
        if state.opened:
            return
        state.opened = True
    state.pool._sched.enter(INTERVAL, _Tick(state))


def look_after(state: PoolState) -> None:
    """One round."""
    now = monotonic()
    with state.pool._lock:
        state.history.note(now, state.wait_time, state.use_time, state.counts)
        state.uses.parts((conn.entry for conn in state.out), now)
    state.uses.count(now)
    _forget_the_gone(state)
    reclaim(state)
    telling.tell_of_outage(state, now)
    telling.report_leaks(state, now)
    _break_off_preparations(state, now)
    audit(state, now)
    state.count(found_dead=sweep(state))
    _shrink(state, now)
    _renew_one(state)
    _keep_alive_some(state, now)
    if state.predecessor is not None:
        sizing.resize(state)
    state.pool.fill()


def _forget_the_gone(state: PoolState) -> None:
    # In a function of its own, which keeps nothing: who refers to a connection is counted next.
    with state.pool._lock:
        for conn in list(state.pool.living):
            conn.entry.forget_the_gone()


def _break_off_preparations(state: PoolState, now: float) -> None:
    """A hook has no deadline of its own: on a server that stands still it would keep a worker and a place for ever."""
    longest = max(_AT_LEAST, _PREPARED_WITHIN * state.spec.connection_timeout)
    with state.pool._lock:
        late = [each for each in state.preparations if not each.broken_off and now - each.began > longest]
        for preparation in late:
            preparation.broken_off = True
    for preparation in late:
        logger.warning(
            "pool %r: what prepares a connection (time zone, role, the site's hooks) has not come to its end in %.0f s, and"
            " is broken off",
            state.target,
            longest,
        )
        # The pool's workers may all be at hooks that hang.
        Thread(target=break_off, args=[preparation.conn], name="poolmgr-deadline", daemon=True).start()


def sweep(state: PoolState, *, silent: bool = False) -> int:
    """Drop the idle connections whose server end is gone; returns how many.

    With ``silent``, after one did not answer, those go too that are unused for as long as makes them doubtful.
    """
    now, limit = monotonic(), state.spec.validate_after_idle

    def is_dead(conn: PooledConnection) -> bool:
        return bool(conn.entry.has_news(0)) or (silent and now - conn.entry.idle_since >= limit)

    if state.spec.validation == "off" and not silent:
        return 0
    return _drop(state, state.pool.take_idle(is_dead))


def _drop(state: PoolState, dropped: list[PooledConnection]) -> int:
    state.count(closed=len(dropped))
    for conn in dropped:
        state.pool.give_up(conn)
    return len(dropped)


def _shrink(state: PoolState, now: float) -> None:
    pool, patience = state.pool, state.spec.idle_timeout
    if not patience:
        return
    with pool._lock:
        spare = max(0, pool.present - pool._min_size)
        taken = pool.take_idle(lambda conn: now - conn.entry.idle_since > patience, spare)
    _drop(state, taken)


def _renew_one(state: PoolState) -> None:
    # One a round: renewing all that were opened together at once would leave nobody to serve.
    for conn in state.pool.take_idle(lambda conn: is_old(state.pool, conn.entry), 1):
        in_worker(state.pool, partial(replace, state, conn))


def _keep_alive_some(state: PoolState, now: float) -> None:
    interval = state.spec.keepalive_interval
    if not interval:
        return

    def due_at(conn: PooledConnection) -> float:
        return max(conn.entry.idle_since, conn.entry.asked_at) + interval

    # As few as keep up: those that are asked serve nobody meanwhile.
    enough = ceil(len(state.pool._pool) * INTERVAL / interval)
    for conn in state.pool.take_idle(lambda conn: due_at(conn) < now, enough, first=due_at):
        in_worker(state.pool, partial(_keep_alive, state, conn))


def _keep_alive(state: PoolState, conn: PooledConnection) -> None:
    pool, entry = state.pool, conn.entry
    try:
        validate(conn, state.spec.validation_query, monotonic() + PATIENCE)
    except Exception as ex:
        if not is_only_the_query(state, conn, ex):
            logger.info("pool %r: an idle connection was lost: %s", state.target, diagnose(ex).sentence)
            state.count(found_dead=1)
            _drop(state, [conn])
            return
    entry.asked_at = monotonic()
    with pool._lock:
        wanted = bool(pool._waiting) or pool._nconns > pool._max_size or pool._closed
        if not wanted:
            # Back to where it was: a keepalive is no use, and must not keep a surplus connection from its idle_timeout.
            pool._pool.appendleft(conn)
    if wanted:
        pool._add_to_pool(conn)
