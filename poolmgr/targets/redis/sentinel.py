"""A Redis that Sentinel watches: a pool whose connections lead to the master, also after another became it."""

from __future__ import annotations

from contextlib import suppress
from time import monotonic
from typing import Any

from redis.sentinel import SentinelConnectionPool, SentinelManagedConnection, SentinelManagedSSLConnection

from poolmgr.pools.core.pool import CorePool
from poolmgr.pools.core.ticker import ticker
from poolmgr.targets.redis.library import redis
from poolmgr.targets.redis.pool import ManagedConnectionPool

#: Seconds between two questions of who is the master.
_INTERVAL = 1.0


class ManagedSentinelPool(ManagedConnectionPool, SentinelConnectionPool):
    """For ``connection_pool_class`` of ``Sentinel.master_for()`` and ``slave_for()``; ``target`` and ``pool`` go with it.

    The Sentinels are asked at each connect, and once a second while there are connections. When another is master, those
    to the old one are closed: idle ones at once, used ones as they return. While there is none, requests wait.
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
        if connection_class is None or connection_class is redis.Connection:
            connection_class = SentinelManagedSSLConnection if ssl else SentinelManagedConnection
        elif connection_class is redis.SSLConnection:  # as rediss:// has it
            connection_class = SentinelManagedSSLConnection
        self._is_asking = False
        super().__init__(
            connection_class=connection_class, service_name=service_name, sentinel_manager=sentinel_manager, **kwargs
        )

    def get_connection(self, command_name: Any = None, *keys: Any, **options: Any) -> Any:
        """A live connection to the master, or to a replica. Raises a ``CheckoutError``."""
        while True:
            connection = super().get_connection(command_name, *keys, **options)
            if self._is_current(connection):
                return connection
            self.release(connection)  # opened before another became the master

    def release(self, connection: Any) -> None:
        """Take a connection back; one to what is no master any more is closed."""
        if not self._is_current(connection):
            connection.disconnect()
        super().release(connection)

    def owns_connection(self, connection: Any) -> bool:
        return self._is_current(connection) and super().owns_connection(connection)

    def _is_current(self, connection: Any) -> bool:
        known = self.proxy.master_address if self.is_master else None
        return known is None or known == (connection.host, connection.port)

    @property
    def address(self) -> str:
        """Where it connects to, for people."""
        known = self.proxy.master_address if self.is_master else None
        database = self.connection_kwargs.get("db") or 0
        if known is not None:
            return f"{self.service_name} at {known[0]}:{known[1]}/{database}"
        return f"{self.service_name}/{database}" if self.is_master else f"replicas of {self.service_name}/{database}"

    def _make(self) -> CorePool:
        core = super()._make()
        self._is_asking = False
        if self.is_master:
            ticker().at(monotonic() + _INTERVAL, self._look)
        return core

    def _look(self) -> None:
        core = self._core
        if core is not None and core.retired:
            return
        if core is not None and core.places and not self._is_asking:
            self._is_asking = True
            core.workers.run(self._ask)
        ticker().at(monotonic() + _INTERVAL, self._look)

    def _ask(self) -> None:
        try:
            with suppress(redis.RedisError):  # Sentinels that are away; what there is stays in use
                self.get_master_address()  # type: ignore[no-untyped-call]
        finally:
            self._is_asking = False
        if self._core is not None:
            self._core.address = self.address
