"""AsyncpgPool: asyncpg's words for a pool, on pools that are managed, one for each event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Generator, Mapping
from time import monotonic
from typing import Any

from poolmgr.pools.aio.bridge import Bridge, running_loop
from poolmgr.pools.aio.perloop import PerLoop
from poolmgr.pools.aio.pool import LoopPool
from poolmgr.pools.core.slot import Slot
from poolmgr.pools.forks import attend, here
from poolmgr.pools.groups import group
from poolmgr.targets.asyncpg import cleaning
from poolmgr.targets.asyncpg.driver import AsyncpgDriver
from poolmgr.targets.asyncpg.kind import ASYNCPG
from poolmgr.targets.asyncpg.library import asyncpg
from poolmgr.targets.asyncpg.making import Maker
from poolmgr.targets.asyncpg.proxy import Lent

#: Seconds between two looks whether what is in use came back.
_MOMENT = 0.01

Setup = Callable[[Any], Awaitable[object]]


def _through(name: str) -> Any:
    async def call(self: AsyncpgPool, *args: Any, **kwargs: Any) -> Any:
        async with Acquiring(self, None) as conn:
            return await getattr(conn, name)(*args, **kwargs)

    call.__name__, call.__doc__ = name, "asyncpg's, on a connection of the pool's for as long as it takes."
    return call


class AsyncpgPool:
    """To be used from whichever event loop, each of which has connections of its own.

    ``maker`` makes them. ``target`` is its name for profiles, dashboard and budget; a pool without one is nobody's but its
    maker's. ``pool`` has the settings before any profile, by the profile's names. ``setup`` is called with a connection at
    each checkout. Raises ``InvalidSpec`` for wrong settings.
    """

    def __init__(
        self,
        maker: Maker,
        *,
        target: str = "",
        pool: Mapping[str, Any] | None = None,
        setup: Setup | None = None,
        address: str = "",
    ) -> None:
        self.target = target
        self.bootstrap = ASYNCPG.make_spec(pool or {}, "pool")
        self.address = address
        self._maker = maker
        self._setup = setup
        self._loops = PerLoop(self._make, target, ASYNCPG.name, self.bootstrap)

    def __repr__(self) -> str:
        return f"<asyncpg on {self._loops.now() or self.target!r}>"

    # -- checkout and return ------------------------------------------------------------------------------------------

    def acquire(self, *, timeout: float | None = None) -> Acquiring:
        """A connection, to be awaited or for the length of an ``async with`` block.

        ``timeout`` in seconds, by default the profile's ``connection_timeout``. Raises a ``CheckoutError`` that says why
        none could be had, which is asyncpg's error, or a ``TimeoutError``, too.
        """
        return Acquiring(self, timeout)

    async def release(self, connection: Any, *, timeout: float | None = None) -> None:
        """Take a connection back, in whatever state; a second time it has no effect.

        A clean return awaits nothing. What its borrower has left is wiped, for which it waits as long as it takes, within 5
        seconds or ``timeout``; where that fails, another connection is opened as it is wanted. Raises ``InterfaceError`` for
        what was not acquired from this pool, or is of another loop.
        """
        if not isinstance(connection, Lent) or connection.front is not self:
            raise asyncpg.InterfaceError(f"{connection!r} is not a member of this pool")
        conn = connection._con
        if conn is None:
            return
        slot, epoch = connection.slot, connection.epoch
        if not here:
            attend()
        if slot.epoch != epoch:  # the pool took it back
            connection.end()
            return
        conn.expect_its_loop()
        pool: LoopPool = slot.pool
        try:
            connection.end()
        except BaseException:  # a warning of asyncpg's that the site has made an error
            pool.put_back(slot, False, epoch)
            raise
        if conn.is_closed():
            pool.put_back(slot, False, epoch)
        elif conn.is_as_it_was:
            pool.put_back(slot, True, epoch)
        else:
            await self._release_slowly(pool, slot, epoch, cleaning.PATIENCE if timeout is None else timeout)

    async def _release_slowly(self, pool: LoopPool, slot: Slot, epoch: int, seconds: float) -> None:
        if not cleaning.is_worth_it(slot.conn, pool.target):
            pool.put_back(slot, False, epoch)
            return
        await self._clean(pool, slot, epoch, seconds)

    async def _clean(self, pool: LoopPool, slot: Slot, epoch: int, seconds: float, goes_on: bool = True) -> None:
        fit = left_to_another = False
        try:
            fit = not pool.retired and await cleaning.clean(slot.conn, pool.target, self._maker.configure, seconds)
        except asyncio.CancelledError:
            # Whoever stops waiting for it stops nothing. A task costs several turns of the loop, hence only now.
            left_to_another = goes_on and pool.bridge.begins(False)
            if left_to_another:
                again = self._clean(pool, slot, epoch, seconds, goes_on=False)
                pool.bridge.note(asyncio.create_task(again, name="poolmgr"), False)
            raise
        finally:
            if not left_to_another and pool.put_back(slot, fit, epoch) and fit:
                pool.count(cleaned=1)

    async def _acquire(self, timeout: float | None) -> Lent:
        asked = monotonic()
        pool = self._loops.last
        if pool is None or pool.retired or pool.loop is not running_loop():
            pool = self._loops.here()
        lent = Lent(await pool.acheckout(timeout), self)
        if self._setup is not None:
            await self._set_up(self._setup, lent, (pool.spec.connection_timeout if timeout is None else timeout), asked)
        return lent

    async def _set_up(self, setup: Setup, lent: Lent, seconds: float, asked: float) -> None:
        slot, epoch = lent.slot, lent.epoch
        try:
            async with asyncio.timeout(max(0.001, asked + seconds - monotonic())):
                await setup(lent)
        except BaseException:
            lent.end()
            slot.pool.put_back(slot, False, epoch)
            raise

    fetch = _through("fetch")
    fetchval = _through("fetchval")
    fetchrow = _through("fetchrow")
    fetchmany = _through("fetchmany")
    execute = _through("execute")
    executemany = _through("executemany")
    copy_from_table = _through("copy_from_table")
    copy_from_query = _through("copy_from_query")
    copy_to_table = _through("copy_to_table")
    copy_records_to_table = _through("copy_records_to_table")

    # -- the pool -----------------------------------------------------------------------------------------------------

    @property
    def managed(self) -> LoopPool:
        """The pool behind it in the running event loop. That of a target is one of a group, whose settings it follows."""
        return self._loops.here()

    def _make(self, bridge: Bridge) -> LoopPool:
        driver = AsyncpgDriver(self._maker, bridge)
        return LoopPool(ASYNCPG.name, self.target or "asyncpg", self.bootstrap, driver, self.address, bridge)

    async def expire_connections(self) -> None:
        """Close what is idle in this loop now and what is used as it is released; fresh ones come as wanted."""
        if (pool := self._loops.now()) is not None:
            with pool.lock:
                pool.generation += 1
            pool.drop_idle()

    async def close(self, *, timeout: float | None = None) -> None:
        """End this loop's pool: nobody is served, what is in use may come back for ``timeout`` seconds, by default for the
        profile's ``connection_timeout``; then it is broken off. The next use in this loop opens another.
        """
        if (pool := self._loops.now()) is None or pool.retired:
            return
        deadline = monotonic() + (pool.spec.connection_timeout if timeout is None else timeout)
        pool.retire()
        try:
            while pool.places and monotonic() < deadline:
                await asyncio.sleep(_MOMENT)
        finally:
            pool.leave()
        if self.target:
            group.end_if_empty(self.target)

    def terminate(self) -> None:
        """The same at once."""
        if (pool := self._loops.now()) is not None:
            pool.leave()

    def is_closing(self) -> bool:
        """Whether it was closed in this loop, and not used since."""
        pool = self._loops.now()
        return pool is not None and pool.retired

    def get_size(self) -> int:
        """How many connections this loop has."""
        pool = self._loops.now()
        return 0 if pool is None else len(pool.living)

    def get_idle_size(self) -> int:
        """How many of them are idle."""
        pool = self._loops.now()
        return 0 if pool is None else len(pool.idle)

    def get_min_size(self) -> int:
        """``min_size`` of all loops together."""
        pool = self._loops.now()
        return (self.bootstrap if pool is None else pool.spec).min_size

    def get_max_size(self) -> int:
        """``max_size`` of all loops together."""
        pool = self._loops.now()
        return (self.bootstrap if pool is None else pool.spec).max_size


class Acquiring:
    """One checkout, as asyncpg's ``acquire()`` gives it."""

    __slots__ = ("_conn", "_pool", "_timeout")

    def __init__(self, pool: AsyncpgPool, timeout: float | None) -> None:
        self._pool = pool
        self._timeout = timeout
        self._conn: Lent | None = None

    def __await__(self) -> Generator[Any, None, Lent]:
        return self._pool._acquire(self._timeout).__await__()

    async def __aenter__(self) -> Lent:
        if self._conn is not None:
            raise asyncpg.InterfaceError("a connection is already acquired")
        self._conn = conn = await self._pool._acquire(self._timeout)
        return conn

    async def __aexit__(self, *exc: object) -> None:
        conn, self._conn = self._conn, None
        await self._pool.release(conn)
