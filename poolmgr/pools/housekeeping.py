"""What a pool does by itself: once a second in its scheduler's thread it decides, and leaves the I/O to its workers."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from math import ceil
from threading import Thread
from time import monotonic
from typing import TYPE_CHECKING
from weakref import ref

from poolmgr.pools.connection import PooledConnection
from poolmgr.pools.diagnosis import diagnose
from poolmgr.pools.entry import Entry
from poolmgr.pools.liveness import PATIENCE, break_off, validate
from poolmgr.pools.owners import name_of, stack_of
from poolmgr.pools.reclaiming import reclaim
from poolmgr.pools.validation import is_only_the_query
from poolmgr.pools.work import in_worker

if TYPE_CHECKING:
    from poolmgr.pools.elastic import ElasticPool
    from poolmgr.pools.managed import ManagedPool

logger = logging.getLogger("poolmgr.pool")

INTERVAL = 1.0
#: How long what prepares a connection may take, in times of connection_timeout, and in seconds at the least.
_PREPARED_WITHIN, _AT_LEAST = 3.0, 5.0


@dataclass(frozen=True, slots=True)
class Recycled:
    """What a recycle did: connections replaced, old ones still in use, and why it stopped early, if it did."""

    replaced: int
    remaining: int
    failed: str = ""


class _Tick:
    """The periodic round; it holds the pool weakly, so that a dropped pool ends by itself."""

    def __init__(self, managed: ManagedPool) -> None:
        self.managed = ref(managed)

    def __call__(self) -> None:
        managed = self.managed()
        if managed is None:
            return
        if managed.ended:
            managed.pool.stop_threads()
            return
        try:
            if managed.retired:
                reclaim(managed)
            else:
                look_after(managed)
        except Exception:
            logger.exception("pool %r: housekeeping failed; it goes on in %s s", managed.target, INTERVAL)
        finally:
            managed.pool._sched.enter(INTERVAL, self)


def start(managed: ManagedPool) -> None:
    """Begin the rounds, once."""
    with managed.pool._lock:
        if managed.kept:
            return
        managed.kept = True
    managed.pool._sched.enter(INTERVAL, _Tick(managed))


def look_after(managed: ManagedPool) -> None:
    """One round."""
    now = monotonic()
    managed.history.note(managed, now)
    reclaim(managed)
    _tell_of_outage(managed, now)
    _report_leaks(managed, now)
    _break_off_preparations(managed, now)
    managed.count(found_dead=sweep(managed))
    _shrink(managed, now)
    _renew_one(managed)
    _keep_alive_some(managed, now)
    if managed.predecessor is not None:
        managed._resize()
    managed.pool.fill()


def _tell_of_outage(managed: ManagedPool, now: float) -> None:
    with managed.pool._lock:
        line = managed.outage.over(now)
    if line:
        logger.warning("pool %r: %s", managed.target, line)


def _report_leaks(managed: ManagedPool, now: float) -> None:
    threshold = managed.spec.leak_threshold
    if not threshold:
        return
    with managed.pool._lock:
        late = [(c.entry, c.entry.owner) for c in managed.out if now - c.entry.since > threshold]
    for entry, owner in late:
        if owner is None or entry.leak_reported == entry.epoch:
            continue
        entry.leak_reported = entry.epoch
        managed.count(leaks=1)
        logger.warning(
            "pool %r: %s has held connection %s for %.1f s (leak_threshold %g s); it is now at\n%s",
            managed.target,
            name_of(owner),
            entry.pid,
            now - entry.since,
            threshold,
            stack_of(owner) or "(no stack)",
        )


def _break_off_preparations(managed: ManagedPool, now: float) -> None:
    """A hook has no deadline of its own: on a server that stands still it would keep a worker and a place for ever."""
    longest = max(_AT_LEAST, _PREPARED_WITHIN * managed.spec.connection_timeout)
    with managed.pool._lock:
        late = [each for each in managed.preparations if not each.broken_off and now - each.began > longest]
        for preparation in late:
            preparation.broken_off = True
    for preparation in late:
        logger.warning(
            "pool %r: what prepares a connection (time zone, role, the site's hooks) has not come to its end in %.0f s, and"
            " is broken off",
            managed.target,
            longest,
        )
        # The pool's workers may all be at hooks that hang.
        Thread(target=break_off, args=[preparation.conn], name="poolmgr-deadline", daemon=True).start()


def sweep(managed: ManagedPool, *, silent: bool = False) -> int:
    """Drop the idle connections whose server end is gone; returns how many.

    With ``silent``, after one did not answer, those go too that are unused for as long as makes them doubtful.
    """
    now, limit = monotonic(), managed.spec.validate_after_idle

    def is_dead(conn: PooledConnection) -> bool:
        return bool(conn.entry.has_news(0)) or (silent and now - conn.entry.idle_since >= limit)

    if managed.spec.validation == "off" and not silent:
        return 0
    return _drop(managed, managed.pool.take_idle(is_dead))


def _drop(managed: ManagedPool, dropped: list[PooledConnection]) -> int:
    managed.count(closed=len(dropped))
    for conn in dropped:
        managed.pool.give_up(conn)
    return len(dropped)


def _shrink(managed: ManagedPool, now: float) -> None:
    pool, patience = managed.pool, managed.spec.idle_timeout
    if not patience:
        return
    with pool._lock:
        spare = max(0, pool.present - pool._min_size)
        taken = pool.take_idle(lambda conn: now - conn.entry.idle_since > patience, spare)
    _drop(managed, taken)


def is_old(pool: ElasticPool, entry: Entry) -> bool:
    """Whether a connection has outlived ``max_lifetime`` or a recycle."""
    return entry.generation != pool.generation or entry.expires <= monotonic()


def _renew_one(managed: ManagedPool) -> None:
    # One a round: renewing all that were opened together at once would leave nobody to serve.
    for conn in managed.pool.take_idle(lambda conn: is_old(managed.pool, conn.entry), 1):
        in_worker(managed.pool, partial(replace, managed, conn))


def replace(managed: ManagedPool, conn: PooledConnection) -> Exception | None:
    """Replace ``conn``, which nobody owns; returns the error when that failed."""
    error = managed.pool.replace(conn)
    if error is None:
        managed.count(closed=1, renewed=1)
    else:
        logger.info("pool %r: a connection could not be replaced: %s", managed.target, diagnose(error).sentence)
    with managed.changed:
        managed.changed.notify_all()
    return error


def _keep_alive_some(managed: ManagedPool, now: float) -> None:
    interval = managed.spec.keepalive_interval
    if not interval:
        return

    def due_at(conn: PooledConnection) -> float:
        return max(conn.entry.idle_since, conn.entry.asked_at) + interval

    # As few as keep up: those that are asked serve nobody meanwhile.
    enough = ceil(len(managed.pool._pool) * INTERVAL / interval)
    for conn in managed.pool.take_idle(lambda conn: due_at(conn) < now, enough, first=due_at):
        in_worker(managed.pool, partial(_keep_alive, managed, conn))


def _keep_alive(managed: ManagedPool, conn: PooledConnection) -> None:
    pool, entry = managed.pool, conn.entry
    try:
        validate(conn, managed.spec.validation_query, monotonic() + PATIENCE)
    except Exception as ex:
        if not is_only_the_query(managed, conn, ex):
            logger.info("pool %r: an idle connection was lost: %s", managed.target, diagnose(ex).sentence)
            managed.count(found_dead=1)
            _drop(managed, [conn])
            return
    entry.asked_at = monotonic()
    with pool._lock:
        wanted = bool(pool._waiting) or pool._nconns > pool._max_size or pool._closed
        if not wanted:
            # Back to where it was: a keepalive is no use, and must not keep a surplus connection from its idle_timeout.
            pool._pool.appendleft(conn)
    if wanted:
        pool._add_to_pool(conn)


def recycle(managed: ManagedPool, timeout: float) -> Recycled:
    """Replace what is idle now and what is used as it returns, for up to ``timeout`` seconds."""
    pool, deadline = managed.pool, monotonic() + timeout
    with pool._lock:
        pool.generation += 1
        generation = pool.generation
        before = managed.counts["renewed"]

    def is_left(conn: PooledConnection) -> bool:
        return conn.entry.generation < generation

    while True:
        for conn in pool.take_idle(is_left, 1):
            if error := replace(managed, conn):
                return Recycled(managed.counts["renewed"] - before, _count(managed, is_left), diagnose(error).sentence)
        with managed.changed:
            left = _count(managed, is_left)
            seconds = deadline - monotonic()
            if not left or seconds <= 0 or managed.retired:
                return Recycled(managed.counts["renewed"] - before, left)
            if not any(map(is_left, pool._pool)):
                # Not for all of it: one that breaks in use goes without notice.
                managed.changed.wait(min(seconds, 0.5))


def _count(managed: ManagedPool, wanted: Callable[[PooledConnection], bool]) -> int:
    with managed.pool._lock:
        return sum(map(wanted, list(managed.pool.living)))
