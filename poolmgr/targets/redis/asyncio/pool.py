"""AsyncManagedConnectionPool: what redis.asyncio's clients call, on pools that are managed, one for each event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from redis.asyncio import connection as theirs

from poolmgr.pools.aio.bridge import Bridge
from poolmgr.pools.aio.perloop import PerLoop
from poolmgr.pools.aio.pool import LoopPool
from poolmgr.pools.desired import Desired
from poolmgr.pools.lane import on_console_lane
from poolmgr.secrets import hide
from poolmgr.targets.redis.arguments import address, bootstrap, refuse
from poolmgr.targets.redis.asyncio.connection import tracked
from poolmgr.targets.redis.asyncio.driver import AsyncRedisDriver
from poolmgr.targets.redis.console import NO_TIME, knows_that_it_is_away, waited_for_once
from poolmgr.targets.redis.kind import REDIS
from poolmgr.targets.redis.library import redis


class AsyncManagedConnectionPool(theirs.ConnectionPool):
    """redis.asyncio's pool, to be given to its clients, with waiting requests, live settings and operations.

    ``target`` is its name for profiles, dashboard and budget; a pool without one is nobody's but its maker's. ``pool``
    has the settings before any profile, by the profile's names. ``max_connections`` and ``timeout`` are redis-py's words
    for ``max_size`` and ``connection_timeout``. All else is as in ``redis.asyncio.ConnectionPool``.

    It may be used from several event loops, each of which has connections of its own. Raises ``InvalidSpec`` for wrong
    settings.
    """

    #: What the log calls one without a target.
    unnamed = "redis"

    def __init__(
        self,
        connection_class: type[Any] = theirs.Connection,
        max_connections: int | None = None,
        *,
        target: str = "",
        pool: Mapping[str, Any] | None = None,
        timeout: float | None = None,
        **connection_kwargs: Any,
    ) -> None:
        refuse(connection_class, max_connections, target, timeout, connection_kwargs, theirs.AbstractConnection)
        self.target = target
        self.bootstrap = bootstrap(pool, max_connections, timeout, target)
        self._loops = PerLoop(self._make, target, REDIS.name, self.bootstrap)
        self._tells = "event_dispatcher" in connection_kwargs
        self._is_made = False
        hide(connection_kwargs)
        super().__init__(connection_class=connection_class, **connection_kwargs)
        self._is_made = True

    # -- checkout and return ------------------------------------------------------------------------------------------

    async def get_connection(self, command_name: Any = None, *keys: Any, **options: Any) -> Any:
        """A live connection. Raises a ``CheckoutError`` that says why none could be had, which is redis-py's error too."""
        core = self._loops.last
        if core is None or core.retired or core.loop is not asyncio.get_running_loop():
            if on_console_lane() is not None and self._loops.now() is None:
                # A process that serves the console alone makes no pool.
                return await self._direct(self.bootstrap.connection_timeout)
            core = self._loops.here()
        if on_console_lane() is not None and (core.paused or not core.idle):
            if knows_that_it_is_away(core):
                return (await core.acheckout(NO_TIME)).conn
            return await self._direct(core.spec.connection_timeout)
        return (await core.acheckout()).conn

    async def release(self, connection: Any) -> None:
        """Take a connection back, in whatever state; a second time it has no effect.

        A clean return awaits nothing. One that isn't as it was connected is closed: somebody's MULTI, SELECT, name.
        """
        slot = getattr(connection, "slot", None)
        ours = slot is not None and self._is_ours(slot)
        if ours and self._is_fit(connection) and (self._tells or connection._re_auth_token is not None):
            await self._tell_of_release(slot, connection)
        self.give_back(connection)

    def give_back(self, connection: Any) -> None:
        """``release()`` for whoever can't await: one that is to log in again is closed."""
        slot = getattr(connection, "slot", None)
        if slot is None or not self._is_ours(slot):
            if getattr(connection, "direct_of", None) is self:
                connection.let_go_unheard()
            return
        fit = self._is_fit(connection) and connection._re_auth_token is None
        clean = connection.is_as_connected()
        if slot.pool.give_back(slot, fit and clean) and not clean:
            slot.pool.count(cleaned=1)

    def _is_fit(self, connection: Any) -> bool:
        return connection._reader is not None and not connection._should_reconnect

    def _is_ours(self, slot: Any) -> bool:
        return getattr(slot.pool.driver, "front", None) is self

    async def _tell_of_release(self, slot: Any, connection: Any) -> None:
        # To tell redis-py's own dispatcher of each would cost as much as all the rest; it only has them log in again.
        try:
            if self._tells:
                dispatcher: Any = self._event_dispatcher
                await dispatcher.dispatch_async(redis.event.AsyncAfterConnectionReleasedEvent(connection))  # type: ignore[no-untyped-call]
            else:
                await connection.re_auth()
        except BaseException:
            slot.pool.give_back(slot, fit=False)
            raise

    def _make(self, bridge: Bridge) -> LoopPool:
        driver = AsyncRedisDriver(self, bridge)
        return LoopPool(REDIS.name, self.target or self.unnamed, self.bootstrap, driver, self.address, bridge)

    @property
    def address(self) -> str:
        """Where it connects to, for people."""
        return address(self.connection_kwargs)

    @property
    def managed(self) -> LoopPool:
        """The pool behind it in the running event loop. That of a target is one of a group, whose settings it follows."""
        return self._loops.here()

    async def _direct(self, timeout: float) -> Any:
        """For the console, which must not wait: a connection of its own."""
        with waited_for_once(self):
            return await self._connect_beside(timeout)

    async def _connect_beside(self, timeout: float) -> Any:
        connection = self.make_connection()
        connection.direct_of = self
        try:
            async with asyncio.timeout(timeout):
                await connection.connect_within(timeout)
        except TimeoutError as ex:
            connection.let_go_unheard()
            raise redis.TimeoutError(f"no answer within {timeout:g} s") from ex
        except BaseException:
            connection.let_go_unheard()
            raise
        return connection

    # -- what others call of redis-py's pool --------------------------------------------------------------------------

    def make_connection(self) -> Any:
        """A connection that is not connected yet, and no pool's."""
        kwargs = self.connection_kwargs
        hide(kwargs)  # which a connection keeps, and its errors' frames show
        cls: Any = self.connection_class
        return tracked(cls)(**kwargs)

    def reset(self) -> None:
        """Nothing: callers want connections by new parameters, which are read at each connect."""

    async def disconnect(self, inuse_connections: bool = True) -> None:
        """Close what is idle in this loop, and break off what is used where that is asked for; fresh ones come as wanted."""
        core = self._loops.now()
        if core is None or core.retired:
            return
        core.drop_idle()
        for connection in self._get_in_use_connections() if inuse_connections else ():
            await connection.disconnect(nowait=True)

    async def aclose(self) -> None:
        """Disconnect; this loop's pool without a target ends, and begins anew when it is used again."""
        await self._on_close()
        await self.disconnect()
        core = self._loops.now()
        if core is not None and not self.target:
            core.close()

    def owns_connection(self, connection: Any) -> bool:
        """Whether it is one of this loop's."""
        slot = getattr(connection, "slot", None)
        return slot is not None and slot.pool is self._loops.now()

    async def re_auth_callback(self, token: Any) -> None:
        """New credentials: used connections log in again as they return, idle ones are closed."""
        for core in self._loops.all():
            with core.lock:
                used = [slot.conn for slot in core.out]
            for connection in used:
                connection.set_re_auth_token(token)
            core.drop_idle()

    def set_retry(self, retry: Any) -> None:
        """redis-py's, for the connections that there are."""
        for connection in (*self._get_free_connections(), *self._get_in_use_connections()):
            connection.retry = retry

    def can_get_connection(self) -> bool:
        """Whether nobody would have to wait."""
        core = self._loops.now()
        return core is None or bool(core.idle) or core.places < core.most

    @property
    def timeout(self) -> float:
        """Seconds for which a request waits, as redis-py's blocking pool calls it."""
        core = self._loops.now()
        return (core.spec if core is not None else self.bootstrap).connection_timeout

    @property
    def max_connections(self) -> int:
        core = self._loops.now()
        return (core.spec if core is not None else self.bootstrap).max_size

    @max_connections.setter
    def max_connections(self, number: int) -> None:
        """redis-py's way to say it, for a pool that has no profile."""
        if self.target or not self._is_made:  # redis-py's constructor knows nothing of the settings
            return
        core = self._loops.now()
        spec = self.bootstrap if core is None else core.spec
        sizes = {"max_size": number, "min_size": min(spec.min_size, number)}
        self.bootstrap = REDIS.make_spec({**spec.to_dict(), **sizes}, "max_connections")
        for core in self._loops.all():
            core.apply(Desired(self.bootstrap))

    @property
    def _available_connections(self) -> list[Any]:
        return self._get_free_connections()

    @_available_connections.setter
    def _available_connections(self, connections: Any) -> None:
        """redis-py's constructor has an empty list of its own."""

    @property
    def _in_use_connections(self) -> set[Any]:
        return self._get_in_use_connections()

    @_in_use_connections.setter
    def _in_use_connections(self, connections: Any) -> None:
        """As above."""

    def _get_free_connections(self) -> list[Any]:
        return self._connections("idle")

    def _get_in_use_connections(self) -> set[Any]:
        return set(self._connections("out"))

    def _connections(self, which: str) -> list[Any]:
        core = self._loops.now()
        if core is None:
            return []
        with core.lock:
            return [slot.conn for slot in getattr(core, which)]

    def __del__(self) -> None:
        """Nothing is counted for observers when it is collected, as redis-py's is."""
