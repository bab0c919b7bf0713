"""The same by asyncio, where each event loop asks over connections of its own."""

from __future__ import annotations

from copy import copy
from typing import Any
from weakref import WeakKeyDictionary

from redis.asyncio import Redis
from redis.asyncio import connection as theirs
from redis.asyncio.sentinel import (
    Sentinel,
    SentinelConnectionPool,
    SentinelManagedConnection,
    SentinelManagedSSLConnection,
)

from poolmgr.pools.aio.bridge import Bridge, LoopBusy
from poolmgr.pools.aio.pool import LoopPool
from poolmgr.pools.core.pool import CorePool
from poolmgr.targets.redis import watched
from poolmgr.targets.redis.asyncio.pool import AsyncManagedConnectionPool

_CLASSES = watched.Classes(
    Sentinel, SentinelManagedConnection, SentinelManagedSSLConnection, theirs.Connection, theirs.SSLConnection
)
#: Seconds that a Sentinel has for its answer, where the site gives it no ``socket_timeout``.
_PATIENCE = 5.0


class AsyncManagedSentinelPool(AsyncManagedConnectionPool, SentinelConnectionPool):
    """For ``connection_pool_class`` of ``redis.asyncio.Sentinel``'s ``master_for()`` and ``slave_for()``; ``target`` and
    ``pool`` go with it. It does as ``ManagedSentinelPool`` does, in each event loop that uses it.

    Raises ``ConfigurationError`` for a client of Sentinel that is no ``redis.asyncio.Sentinel``.
    """

    def __init__(
        self,
        service_name: str,
        sentinel_manager: Any,
        *,
        connection_class: Any = None,
        ssl: bool = False,
        **kwargs: Any,
    ) -> None:
        _CLASSES.check(sentinel_manager)
        self._questions = watched.Questions()
        self._asking: WeakKeyDictionary[CorePool, watched.Asking] = WeakKeyDictionary()
        super().__init__(
            connection_class=_CLASSES.connection_class(connection_class, ssl),
            service_name=service_name,
            sentinel_manager=_in_every_loop(sentinel_manager),
            **kwargs,
        )

    async def get_connection(self, command_name: Any = None, *keys: Any, **options: Any) -> Any:
        """A live connection to the master, or to a replica. Raises a ``CheckoutError``."""
        while True:
            connection = await super().get_connection(command_name, *keys, **options)
            if self._is_current(connection):
                return connection
            await self.release(connection)  # opened before another became the master

    def owns_connection(self, connection: Any) -> bool:
        return self._is_current(connection) and super().owns_connection(connection)

    def _is_fit(self, connection: Any) -> bool:
        return super()._is_fit(connection) and self._is_current(connection)

    def _is_current(self, connection: Any) -> bool:
        return watched.is_current(self.master_address, connection)

    async def get_master_address(self) -> Any:
        """redis-py's: ask who is the master. When it is another, the idle connections of every loop are closed."""
        # Who answers is asked first from then on, by a list that two loops must not change at once.
        manager = copy(self.sentinel_manager)
        manager.sentinels = list(manager.sentinels)
        number = self._questions.ask()
        named = await manager.discover_master(self.service_name)
        self.sentinel_manager.sentinels = manager.sentinels
        if not self.is_master:
            return named
        return self._questions.hear(number, named, lambda: self.master_address, self._follow)

    def _follow(self, named: Any) -> None:
        self.master_address: Any = named
        for core in self._loops.all():
            core.drop_idle()

    @property
    def address(self) -> str:
        """Where it connects to, for people."""
        database = self.connection_kwargs.get("db")
        return watched.address(self.service_name, self.is_master, self.master_address, database)

    def _make(self, bridge: Bridge) -> LoopPool:
        core = super()._make(bridge)
        if self.is_master:
            self._asking[core] = watched.Asking(core, self._ask)
        return core

    def _ask(self, core: LoopPool) -> None:
        if core.bridge.is_open:
            try:
                core.bridge.run(self.get_master_address, _PATIENCE * len(self.sentinel_manager.sentinels))
            except (LoopBusy, TimeoutError):
                return
        core.address = self.address


def _in_every_loop(manager: Sentinel) -> Sentinel:
    """The same, to be asked in whichever loop; what the site has stays its own."""
    made = copy(manager)
    made.sentinels = [Redis(connection_pool=_OneSentinel(each.connection_pool)) for each in manager.sentinels]
    return made


class _OneSentinel(AsyncManagedConnectionPool):
    """To one Sentinel. One that is away is told at once: the next may know who is master."""

    unnamed = "a Sentinel"

    def __init__(self, like: theirs.ConnectionPool) -> None:
        patience = like.connection_kwargs.get("socket_timeout") or _PATIENCE
        pool = {"min_size": 0, "max_size": 2, "connection_timeout": patience}
        super().__init__(like.connection_class, pool=pool, **like.connection_kwargs)

    def _make(self, bridge: Bridge) -> LoopPool:
        core = super()._make(bridge)
        core.is_patient = False
        return core
