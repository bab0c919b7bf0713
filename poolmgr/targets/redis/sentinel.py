"""A Redis that Sentinel watches: a pool whose connections lead to the master, also after another became it."""

from __future__ import annotations

from typing import Any

from redis.sentinel import Sentinel, SentinelConnectionPool, SentinelManagedConnection, SentinelManagedSSLConnection

from poolmgr.pools.core.pool import CorePool
from poolmgr.targets.redis import watched
from poolmgr.targets.redis.library import redis
from poolmgr.targets.redis.pool import ManagedConnectionPool

_CLASSES = watched.Classes(
    Sentinel, SentinelManagedConnection, SentinelManagedSSLConnection, redis.Connection, redis.SSLConnection
)


class ManagedSentinelPool(ManagedConnectionPool, SentinelConnectionPool):
    """For ``connection_pool_class`` of ``Sentinel.master_for()`` and ``slave_for()``; ``target`` and ``pool`` go with it.

    The Sentinels are asked at each connect, and once a second while there are connections. When another is master, those
    to the old one are closed: idle ones at once, used ones as they return. While there is none, requests wait.

    Raises ``ConfigurationError`` for a client of Sentinel that is no ``redis.Sentinel``.
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
        self._asking: watched.Asking | None = None
        super().__init__(
            connection_class=_CLASSES.connection_class(connection_class, ssl),
            service_name=service_name,
            sentinel_manager=sentinel_manager,
            **kwargs,
        )

    def get_connection(self, command_name: Any = None, *keys: Any, **options: Any) -> Any:
        """A live connection to the master, or to a replica. Raises a ``CheckoutError``."""
        while True:
            connection = super().get_connection(command_name, *keys, **options)
            if self._is_current(connection):
                return connection
            self.release(connection)  # opened before another became the master

    def owns_connection(self, connection: Any) -> bool:
        return self._is_current(connection) and super().owns_connection(connection)

    def _is_fit(self, connection: Any) -> bool:
        return super()._is_fit(connection) and self._is_current(connection)

    def _is_current(self, connection: Any) -> bool:
        return watched.is_current(self._master, connection)

    @property
    def _master(self) -> Any:
        return self.proxy.master_address if self.is_master else None

    def get_master_address(self) -> Any:
        """redis-py's: ask who is the master. When it is another, the idle connections are closed."""
        number = self._questions.ask()
        named = self.sentinel_manager.discover_master(self.service_name)
        if not self.is_master:
            return named
        return self._questions.hear(number, named, lambda: self._master, self._follow)

    def _follow(self, named: Any) -> None:
        self.proxy.master_address = named
        self.disconnect(inuse_connections=False)

    @property
    def address(self) -> str:
        """Where it connects to, for people."""
        return watched.address(self.service_name, self.is_master, self._master, self.connection_kwargs.get("db"))

    def _make(self) -> CorePool:
        core = super()._make()
        self._asking = watched.Asking(core, self._ask) if self.is_master else None
        return core

    def _ask(self, core: CorePool) -> None:
        self.get_master_address()
        core.address = self.address
