"""ManagedPool: a pool with timed checkouts, an entry for each connection, live settings and operations."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from time import monotonic
from typing import Any
from weakref import ref

from psycopg.pq import TransactionStatus

from poolmgr.exceptions import CheckoutError
from poolmgr.metrics.snapshot import PoolSnapshot
from poolmgr.pools import registry
from poolmgr.pools.allowance import Allowance
from poolmgr.pools.checkouts import Checkout
from poolmgr.pools.desired import Desired
from poolmgr.pools.forks import attend, here
from poolmgr.pools.labels import Label, current_label
from poolmgr.pools.owners import owner_function
from poolmgr.pools.plan import Plan
from poolmgr.pools.port import Load, Pool, Recycled
from poolmgr.pools.spec import PoolSpec
from poolmgr.targets.postgresql import (
    cleaning,
    explain,
    interrupting,
    leasing,
    lending,
    lifecycle,
    replacing,
    sizing,
    telling,
    tuning,
    validation,
    view,
)
from poolmgr.targets.postgresql.configuring import configure as configure_new
from poolmgr.targets.postgresql.connection import PooledConnection
from poolmgr.targets.postgresql.elastic import ElasticPool
from poolmgr.targets.postgresql.reclaiming import look_for_dropped
from poolmgr.targets.postgresql.state import PoolState
from poolmgr.targets.postgresql.waiting import Place

_IDLE = int(TransactionStatus.IDLE)


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
        self.current_owner = owner_function()
        pool = ElasticPool(
            kwargs=connect_kwargs,
            configure=partial(configure_new, self),
            open=False,
            on_connect=partial(telling.note_connect, self),
            **{"name": target, **(passed or {})},
            **sizing.sizes(self),
        )
        self.use(pool)
        check = (passed or {}).get("check") or ElasticPool.check_connection
        self.check = None if check == ElasticPool.check_connection else check
        self.fault = validation.fault if self.check is None else validation.with_check(self.check)
        pool.on_get, pool.on_return = self.checkout, self.give_back
        pool.on_put, pool.on_lend = self.put_back, self._lend
        pool.has_borrowers = lambda: bool(self.out)
        tuning.tune(self, bootstrap)

    def __repr__(self) -> str:
        seen = self.snapshot()
        return f"<ManagedPool {self.target!r}: {seen.used} in use, {seen.idle} idle, {seen.pending} waiting>"

    def begin(self, desired: Desired | None, allowance: Allowance | None, predecessor: Pool | None) -> None:
        """Before it opens, and before anybody knows of it: its settings, its limit and the pool that it comes after."""
        if desired is not None:
            self.desired, self.spec = desired, desired.spec
            tuning.tune(self, desired.spec)
        self.allow(allowance)
        self.predecessor = predecessor if isinstance(predecessor, PoolState) else None

    def open(self) -> None:
        """Start the pool's threads and its first connects. Idempotent."""
        lifecycle.start(self)

    def retire(self) -> None:
        """Connect no more, and close what is idle now and what is used as it returns."""
        lifecycle.retire(self)

    def close(self, timeout: float = 5.0) -> None:
        """Retire; whoever waits gets ``PoolClosed``.

        What nobody will give back goes now too. While borrowers have connections, its threads stay to look after those.
        """
        lifecycle.close(self, timeout)

    def disown(self) -> None:
        """In a forked child: be a closed pool, whose connections are the parent's and out of reach."""
        lifecycle.disown(self)

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
            owner, label = self.current_owner(), current_label()
            with self._lock:
                if idle and not pool.paused:
                    conn = idle.pop()
                    entry = conn.entry
                    entry.owner = owner
                    entry.label = label
                    entry.since = now = monotonic()
                    # As its begin() does, at less cost.
                    entry.cursors = entry.doing = 0
                    entry.sql = entry.kept = 0.0
                    entry.noted = None
                    self.out.add(conn)
        if conn is not None:
            conn._pool = pool
            # What validation.fault() would find, where nothing but the look at the socket is asked for.
            if asked - entry.idle_since < self.trusted and not entry.has_news(0):
                self.wait_time.add(now - asked)
                return conn
            try:
                fault = self.fault(self, conn, asked, timeout)
            except BaseException:  # the borrower is being stopped, as by a KeyboardInterrupt
                self.put_back(conn)
                raise
            if not fault:
                self.wait_time.add(monotonic() - asked)
                return conn
            lending.discard(self, conn, fault)
        return lending.checkout(self, asked, timeout, self.put_back)

    def give_back(self, conn: PooledConnection) -> None:
        """Take a connection back, in whatever state. Idempotent; also safe for one that was reclaimed meanwhile.

        Another thread than the borrower's may give back, but not one that had this connection, or gave it back, before:
        then somebody else has it by now.
        """
        if not here:
            attend()
        entry = conn.entry
        giver = self.current_owner()
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
            self.use_time.add(held := now - entry.since)
            kept = entry.kept + now - entry.marked if entry.doing else entry.kept
            self.uses.add((entry.label, held, entry.sql, kept, entry.noted, True))
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

    def held_for(self, conn: PooledConnection, label: Label) -> None:
        """Note that a checkout goes on for another than it was begun for."""
        with self._lock:
            if conn.entry.owner is not None:
                self.uses.part(conn.entry, monotonic())
                conn.entry.label = label

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
            return self.checkout(timeout=lending.GLANCE)
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

    def _lend(self, conn: PooledConnection, place: Place) -> None:
        """Note who has waited for ``conn`` and is given it. Called with the lock held."""
        entry = conn.entry
        entry.owner, entry.label = place.owner, place.label
        self.out.add(conn)

    # -- settings -----------------------------------------------------------------------------------------------------

    def apply(self, desired: Desired) -> Plan:
        """Follow new settings in place; no connection is replaced and nobody fails."""
        return tuning.follow(self, desired)

    def limit(self, allowance: Allowance | None) -> None:
        """Hold at most what is allowed, whatever the profile says; None lifts the limit."""
        leasing.limit(self, allowance)

    @property
    def is_limited(self) -> bool:
        """Whether a budget, and not only the profile, says how much it may hold."""
        return self.allowance is not None

    def load(self) -> Load:
        """What the pool holds and what is asked of it, at little cost; what its predecessor has out still is included."""
        return sizing.load(self)

    # -- operations ---------------------------------------------------------------------------------------------------

    @property
    def paused(self) -> bool:
        return self.pool.paused

    def pause(self) -> None:
        """Stop checkouts; requests wait up to their own timeout."""
        with self._lock:
            self.pool.pause()
            self.misses.pause(monotonic(), self.counts["timeouts"])

    def resume(self) -> None:
        """Allow checkouts again."""
        with self._lock:
            self.misses.resume()
        self.pool.resume()

    def recycle(self, timeout: float = 30.0) -> Recycled:
        """Replace every connection by a fresh one, for up to ``timeout`` seconds; used ones are replaced as they return."""
        return replacing.recycle(self, timeout)

    def snapshot(self) -> PoolSnapshot:
        """What the pool looks like now."""
        return view.snapshot(self)

    def find_checkout(self, name: str) -> Checkout | None:
        """The checkout that a snapshot's holder names, if it is under way."""
        return interrupting.find(self, name)

    def diagnose(self) -> str:
        """Why connects fail now, or an empty string."""
        return explain.last_error(self)
