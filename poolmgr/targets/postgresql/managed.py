"""ManagedPool: a pool with timed checkouts, an entry for each connection, live settings and operations."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from math import inf
from threading import Condition, RLock
from time import monotonic, sleep
from typing import Any
from weakref import ref

import psycopg_pool
from psycopg.pq import TransactionStatus

from poolmgr.exceptions import CheckoutError, ConfigurationError
from poolmgr.metrics.snapshot import PoolSnapshot
from poolmgr.pools import registry
from poolmgr.pools.allowance import Allowance
from poolmgr.pools.desired import Desired
from poolmgr.pools.diagnosis import diagnose
from poolmgr.pools.forks import attend, here
from poolmgr.pools.inherited import let_go
from poolmgr.pools.owners import owner_function
from poolmgr.pools.plan import Action, Plan, plan
from poolmgr.pools.port import Load, Pool, Recycled
from poolmgr.pools.spec import PoolSpec
from poolmgr.secrets import replica
from poolmgr.targets.postgresql import cleaning, explain, housekeeping, leasing, sizing, validation, view
from poolmgr.targets.postgresql.configuring import configure as configure_new
from poolmgr.targets.postgresql.connecting import RETRY_WHILE_WAITED
from poolmgr.targets.postgresql.connection import PooledConnection
from poolmgr.targets.postgresql.elastic import ElasticPool
from poolmgr.targets.postgresql.errors import PoolClosed, TooManyWaiting
from poolmgr.targets.postgresql.preparing import present_preparation
from poolmgr.targets.postgresql.reclaiming import look_for_dropped, reclaim
from poolmgr.targets.postgresql.state import PoolState

logger = logging.getLogger("poolmgr.pool")

_IDLE = int(TransactionStatus.IDLE)
FOREVER = 10 * 365 * 86_400.0


class _Glance(float):
    """The timeout of one who goes another way when it is over, and so is no request that got no connection."""


_GLANCE = _Glance(0.05)


class ManagedPool(PoolState):
    """One process's pool to one PostgreSQL target.

    ``connect_kwargs`` is called at every connect, so that credentials may rotate. ``configure`` prepares a new or
    cleaned connection.
    """

    def __init__(
        self,
        target: str,
        bootstrap: PoolSpec,
        connect_kwargs: Callable[[], dict[str, Any]],
        configure: Callable[[Any], None] | None = None,
        address: str = "",
        passed: dict[str, Any] | None = None,
    ) -> None:
        registry.born(self)
        super().__init__(target, bootstrap, configure, address)
        self._current_owner = owner_function()
        pool = ElasticPool(
            kwargs=connect_kwargs,
            configure=partial(configure_new, self),
            open=False,
            on_connect=self._note_connect,
            **{"name": target, **(passed or {})},
            **sizing.sizes(self),
        )
        self.use(pool)
        check = (passed or {}).get("check") or ElasticPool.check_connection
        self.check = None if check == ElasticPool.check_connection else check
        self._fault = validation.fault if self.check is None else validation.with_check(self.check)
        pool.on_get, pool.on_return = self.checkout, self.give_back
        pool.on_put, pool.on_lend = self.put_back, self._lend
        pool.has_borrowers = lambda: bool(self.out)
        self._tune(bootstrap)

    def __repr__(self) -> str:
        seen = self.snapshot()
        return f"<ManagedPool {self.target!r}: {seen.used} in use, {seen.idle} idle, {seen.pending} waiting>"

    def begin(self, desired: Desired | None, allowance: Allowance | None, predecessor: Pool | None) -> None:
        """Before it opens, and before anybody knows of it: its settings, its limit and the pool that it comes after."""
        if desired is not None:
            self.desired, self.spec = desired, desired.spec
            self._tune(desired.spec)
        self._allow(allowance)
        self.predecessor = predecessor if isinstance(predecessor, ManagedPool) else None

    def open(self) -> None:
        """Start the pool's threads and its first connects. Idempotent."""
        if isinstance(before := self.predecessor, ManagedPool):
            before.pool.on_parted = partial(sizing.resize, self)
            before.retire()
        sizing.resize(self)
        with self._lock:
            if self.retired:
                return  # closed by the time that one of several who found it comes to open it
            self.pool.open()
        housekeeping.start(self)
        leasing.watch(self)

    def retire(self) -> None:
        """Connect no more, and close what is idle now and what is used as it returns."""
        with self._lock:
            self.pool.retire()
            self.retired = True
        sizing.resize(self)

    def close(self, timeout: float = 5.0) -> None:
        """Retire; whoever waits gets ``PoolClosed``.

        What nobody will give back goes now too. While borrowers have connections, its threads stay to look after those.
        """
        self.retire()
        reclaim(self)
        self.pool.close(timeout)

    def disown(self) -> None:
        """In a forked child: be a closed pool, whose connections are the parent's and out of reach.

        The locks are new, since a thread that the child doesn't have may have held the old ones.
        """
        pool = self.pool
        self.retired = pool._closed = True
        pool._lock = RLock()
        pool.parted = Condition(pool._lock)
        self.use_lock(pool._lock)
        leaving = [parting.connection for parting in (*pool.leaving, *pool.passing)]
        # Also those that a worker had in its hands.
        for connection in {*pool._pool, *self.out, *pool.living, *leaving}:
            let_go(connection, connection.fileno, getattr(connection, "entry", None))
        pool._pool, pool._waiting, self.out = deque(), deque(), set()

    # -- checkout and return ------------------------------------------------------------------------------------------

    def checkout(self, timeout: float | None = None) -> PooledConnection:
        """A live connection in autocommit mode.

        ``timeout`` in seconds, by default the profile's ``connection_timeout``. Raises a ``CheckoutError`` that says
        why none could be had.
        """
        if not here:
            attend()
        asked = monotonic()
        pool = self.pool
        idle = pool._pool
        conn = None
        if idle and asked < self.lapses:  # a glance, so that a crowd that has to wait locks once each and not twice
            owner = self._current_owner()
            with self._lock:
                if idle and not pool.paused:
                    conn = idle.pop()
                    entry = conn.entry
                    entry.owner = owner
                    entry.since = now = monotonic()
                    self.out.add(conn)
        if conn is not None:
            conn._pool = pool
            # What validation.fault() would find, where nothing but the look at the socket is asked for.
            if asked - entry.idle_since < self.trusted and not entry.has_news(0):
                self.wait_time.add(now - asked)
                return conn
            try:
                fault = self._fault(self, conn, asked, timeout)
            except BaseException:  # the borrower is being stopped, as by a KeyboardInterrupt
                self.put_back(conn)
                raise
            if not fault:
                self.wait_time.add(monotonic() - asked)
                return conn
            self.discard(conn, fault)
        return self._checkout_slowly(asked, timeout)

    def give_back(self, conn: PooledConnection) -> None:
        """Take a connection back, in whatever state. Idempotent; also safe for one that was reclaimed meanwhile.

        Another thread than the borrower's may give back, but not one that had this connection, or gave it back, before:
        then somebody else has it by now.
        """
        if not here:
            attend()
        entry = conn.entry
        giver = self._current_owner()
        with self._lock:
            owner, epoch = entry.owner, entry.epoch
            if owner is None:
                return
            twice = owner is not giver and ref(giver) in entry.gave
            if not twice:
                entry.gave.update((ref(giver), ref(owner)))
        if twice:
            look_for_dropped(self)
        else:
            self.put_back(conn, epoch)

    def put_back(self, conn: PooledConnection, epoch: int | None = None, *, waits: bool = True) -> None:
        """End a checkout, for who knows that it is theirs still: the present one, or the one of this epoch if it isn't over.

        A clean return costs no round trip. An open transaction is rolled back here, or off the caller's thread where that
        never ``waits``; session state is cleaned there always.
        """
        if not here:
            attend()
        entry = conn.entry
        pool = self.pool
        clean = conn.pgconn.transaction_status == _IDLE and not entry.pins and conn._autocommit and not pool._reset
        now = monotonic()
        with self._lock:
            if entry.owner is None or (epoch is not None and epoch != entry.epoch):
                return
            entry.owner = None
            entry.epoch += 1
            self.out.discard(conn)
            self.use_time.add(now - entry.since)
            if (
                clean
                and entry.expires > now
                and entry.generation == pool.generation
                and pool._nconns <= pool._max_size
                and not pool._closed
                and now < self.lapses
            ):
                conn._pool = None
                if pool._waiting or pool._pool_full_event is not None:
                    pool.hand_on(conn, now)
                else:
                    entry.idle_since = now
                    pool._pool.append(conn)
                return
            self.pins.update(entry.pins)
        if now >= self.lapses:
            leasing.lapse(self)
        if waits:
            cleaning.put_away(self, conn)
        else:
            cleaning.put_away_soon(self, conn)

    def lend_on(self, conn: PooledConnection, owner: Any) -> None:
        """Note another owner of a connection that is checked out than the thread that has done so."""
        if not here:
            attend()
        with self._lock:
            if conn.entry.owner is not None:
                conn.entry.owner = owner

    def took_back(self, conn: PooledConnection) -> bool:
        """Whether a borrower's connection was reclaimed from under them."""
        with self._lock:
            return conn.entry.owner is None

    def try_checkout(self) -> PooledConnection | None:
        """An idle connection if one is there at once, otherwise None."""
        with self._lock:
            if not self.pool._pool or self.pool.paused or self.retired:
                return None
        try:
            return self.checkout(timeout=_GLANCE)
        except CheckoutError:
            return None

    def greet(self, conn: PooledConnection, hook: Callable[[], object]) -> bool:
        """As ``pools.lender.Lender`` has it."""
        return conn.greet(hook)

    def read(self, conn: PooledConnection, work: Callable[[], object]) -> None:
        """As ``pools.lender.Lender`` has it."""
        conn.read(work)

    @contextmanager
    def connection(self, timeout: float | None = None) -> Iterator[PooledConnection]:
        """A psycopg connection in autocommit mode for the length of the block."""
        conn = self.checkout(timeout)
        epoch = conn.entry.epoch
        try:
            yield conn
        finally:
            self.put_back(conn, epoch)

    def _checkout_slowly(self, asked: float, timeout: float | None) -> PooledConnection:
        if timeout is None:
            timeout = self.spec.connection_timeout
        if (preparation := present_preparation()) is not None and preparation.target == self.target:
            raise ConfigurationError(
                f"what prepares a new connection to {self.target!r} asks its pool for another, which it would wait for in"
                " vain; let it use the one that it was given"
            )
        deadline = asked + timeout
        pool = self.pool
        if asked >= self.lapses:
            # Before anybody is served: this process may have been frozen for longer than its lease.
            leasing.lapse(self)
        while True:
            failed = None
            try:
                conn = pool.wait_for(max(0.001, deadline - monotonic()), self._current_owner())
            except Exception as ex:
                failed = self.failed(ex, timeout)
            if failed is not None:
                try:
                    # Not before the old error is over and done with, whose frames would else be its context.
                    raise failed
                finally:
                    failed = None  # else it and this frame would keep each other alive
            now = monotonic()
            try:
                fault = self._fault(self, conn, now, deadline - now)
            except BaseException:
                self.put_back(conn)
                raise
            if not fault:
                self.wait_time.add(monotonic() - asked)
                return conn
            self.discard(conn, fault)
            if fault == validation.REFUSED_BY_SITE:
                # A fresh one is refused most likely too, and each costs the server a connect.
                self.refused_at = now
                sleep(max(0.0, min(RETRY_WHILE_WAITED, deadline - monotonic())))

    def _lend(self, conn: PooledConnection, owner: Any) -> None:
        """Note who has waited for ``conn`` and is given it. Called with the lock held."""
        conn.entry.owner = owner
        conn.entry.since = monotonic()
        self.out.add(conn)

    def failed(self, ex: Exception, timeout: float) -> CheckoutError:
        """What to raise instead of ``ex``. Its cause is the failed connect's words, without a traceback."""
        if isinstance(ex, psycopg_pool.PoolClosed):
            return PoolClosed(f"the pool of {self.target!r} is closed", self.target)
        counter, cause = "checkout_errors", None
        ex.__traceback__ = None  # its frames refer to it
        if isinstance(ex, psycopg_pool.TooManyRequests):
            error = explain.too_many(self, TooManyWaiting)
        elif isinstance(ex, psycopg_pool.PoolTimeout):
            counter, cause, error = "timeouts", self.pool.last_error, explain.timed_out(self, timeout)
        else:  # what a failed connect passes on to those who wait
            cause, error = ex, explain.refused(self, ex)
        error.__cause__ = cause and replica(cause)
        if not isinstance(timeout, _Glance):
            self.count(**{counter: 1})
        return error

    def discard(self, conn: PooledConnection, fault: str) -> None:
        """Drop a dead connection just taken, and every idle one that is dead or doubtful with it."""
        with self._lock:
            conn.entry.owner = None
            conn.entry.epoch += 1
            self.out.discard(conn)
        self.pool.give_up(conn)
        self.count(closed=1, found_dead=1 + housekeeping.sweep(self, silent=fault == "silent"))

    # -- settings -----------------------------------------------------------------------------------------------------

    def apply(self, desired: Desired) -> Plan:
        """Follow new settings in place; no connection is replaced and nobody fails."""
        with self._lock:
            made = plan(self.spec, desired.spec)
            self.desired, self.spec = desired, desired.spec
            self._tune(desired.spec)
        if made.action is Action.RESIZE:
            sizing.resize(self)
        return made

    def limit(self, allowance: Allowance | None) -> None:
        """Hold at most what is allowed, whatever the profile says; None lifts the limit."""
        if isinstance(predecessor := self.predecessor, ManagedPool):
            predecessor.limit(allowance)
        with self._lock:
            before = self.allowance
            self._allow(allowance)
        if allowance is not None and allowance.ends < inf:
            leasing.watch(self)
        if before is None or allowance is None or before.most != allowance.most:
            sizing.resize(self)

    def _allow(self, allowance: Allowance | None) -> None:
        self.allowance = allowance
        self.lapses = inf if allowance is None else allowance.lapses
        self.pool.ends = inf if allowance is None else allowance.ends

    @property
    def is_limited(self) -> bool:
        """Whether a budget, and not only the profile, says how much it may hold."""
        return self.allowance is not None

    def load(self) -> Load:
        """What the pool holds and what is asked of it, at little cost; what its predecessor has out still is included."""
        return sizing.load(self)

    def _tune(self, spec: PoolSpec) -> None:
        pool = self.pool
        pool.timeout = spec.connection_timeout
        pool.max_waiting = spec.max_waiting
        pool.reconnect_timeout = spec.reconnect_timeout
        # psycopg_pool's own slow shrinking stays out of the way of ours.
        pool.max_idle = FOREVER
        pool.max_lifetime = spec.max_lifetime or FOREVER
        self.trusted = validation.trusted(spec, self._fault)

    # -- operations ---------------------------------------------------------------------------------------------------

    @property
    def paused(self) -> bool:
        return self.pool.paused

    def pause(self) -> None:
        """Stop checkouts; requests wait up to their own timeout."""
        self.pool.pause()

    def resume(self) -> None:
        """Allow checkouts again."""
        self.pool.resume()

    def recycle(self, timeout: float = 30.0) -> Recycled:
        """Replace every connection by a fresh one, for up to ``timeout`` seconds; used ones are replaced as they return."""
        return housekeeping.recycle(self, timeout)

    def snapshot(self) -> PoolSnapshot:
        """What the pool looks like now."""
        return view.snapshot(self)

    def diagnose(self) -> str:
        """Why connects fail now, or an empty string."""
        return explain.last_error(self)

    # -- called by the pool's workers ---------------------------------------------------------------------------------

    def _note_connect(self, seconds: float, error: Exception | None) -> None:
        found, line = None if error is None else diagnose(error), ""
        with self._lock:
            if found is None:
                self.create_time.add(seconds)
                self.counts["created"] += 1
                now = monotonic()
                self.outage.succeeded(now, now - seconds)
            else:
                self.counts["create_errors"] += 1
                line = self.outage.failed(found, monotonic())
        if line:
            logger.warning("pool %r: %s", self.target, line)
