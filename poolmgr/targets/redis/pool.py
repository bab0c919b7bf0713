"""ManagedConnectionPool: what redis-py's clients call, on a pool that is managed."""

from __future__ import annotations

import os
from collections.abc import Hashable, Mapping
from threading import RLock
from time import monotonic
from typing import Any
from weakref import WeakSet

from poolmgr.exceptions import ConfigurationError
from poolmgr.pools.core.driver import Driver
from poolmgr.pools.core.pool import CorePool
from poolmgr.pools.desired import Desired
from poolmgr.pools.forks import attend, here, on_fork
from poolmgr.pools.groups import group
from poolmgr.pools.lane import on_console_lane
from poolmgr.secrets import hide
from poolmgr.targets.redis.arguments import address, bootstrap, refuse
from poolmgr.targets.redis.connection import tracked
from poolmgr.targets.redis.console import connection_beside, direct
from poolmgr.targets.redis.driver import RedisDriver
from poolmgr.targets.redis.kind import REDIS
from poolmgr.targets.redis.library import redis

#: The one of a target's pools that threads use.
THREADS = "threads"

#: In a forked child their locks are new: a thread that it doesn't have may have held the old ones.
_all: WeakSet[ManagedConnectionPool] = WeakSet()


class ManagedConnectionPool(redis.ConnectionPool):
    """redis-py's pool, to be given to its clients, with waiting requests, live settings and operations.

    ``target`` is its name for profiles, dashboard and budget; a pool without one is nobody's but its maker's. ``pool``
    has the settings before any profile, by the profile's names. ``max_connections`` and ``timeout`` are redis-py's words
    for ``max_size`` and ``connection_timeout``. All else is as in ``redis.ConnectionPool``.

    Raises ``InvalidSpec`` for wrong settings.
    """

    def __init__(
        self,
        connection_class: type[Any] = redis.Connection,
        max_connections: int | None = None,
        *,
        target: str = "",
        pool: Mapping[str, Any] | None = None,
        timeout: float | None = None,
        **connection_kwargs: Any,
    ) -> None:
        refuse(connection_class, max_connections, target, timeout, connection_kwargs)
        self.target = target
        self.bootstrap = bootstrap(pool, max_connections, timeout, target)
        self.key: Hashable = THREADS  # which of the pools of the target this is
        self._core: CorePool | None = None
        self._driver: Driver = RedisDriver(self.make_connection)
        self._tells = "event_dispatcher" in connection_kwargs
        self._is_made = False
        hide(connection_kwargs)
        super().__init__(connection_class=connection_class, **connection_kwargs)
        self._is_made = True
        _all.add(self)

    # -- checkout and return ------------------------------------------------------------------------------------------

    def get_connection(self, command_name: Any = None, *keys: Any, **options: Any) -> Any:
        """A live connection. Raises a ``CheckoutError`` that says why none could be had, which is redis-py's error too."""
        if not here:
            attend()
        core = self._core
        if core is None or core.retired:
            if on_console_lane() is not None:
                # A process that serves the console alone makes no pool.
                return direct(self, self.bootstrap.connection_timeout)
            core = self._begin()
        if on_console_lane() is not None and (core.paused or not core.idle):
            return connection_beside(self, core)
        return core.checkout().conn

    def release(self, connection: Any) -> None:
        """Take a connection back, in whatever state; a second time it has no effect.

        A clean return costs no round trip. One that isn't as it was connected is closed: somebody's MULTI, SELECT, name.
        """
        slot = getattr(connection, "slot", None)
        if slot is None or slot.pool.driver is not self._driver:
            if getattr(connection, "direct_of", None) is self:
                connection.part(monotonic())
            return
        self._tell_of_release(connection)
        fit = self._is_fit(connection)
        clean = connection.is_as_connected()
        if slot.pool.give_back(slot, fit and clean) and not clean:
            slot.pool.count(cleaned=1)

    def _is_fit(self, connection: Any) -> bool:
        return connection._sock is not None and not connection._should_reconnect

    def _tell_of_release(self, connection: Any) -> None:
        # To tell redis-py's own dispatcher of each would cost as much as all the rest; it only has them log in again.
        if self._tells:
            dispatcher: Any = self._event_dispatcher
            dispatcher.dispatch(redis.event.AfterConnectionReleasedEvent(connection))  # type: ignore[no-untyped-call]
        elif connection._re_auth_token is not None:
            connection.re_auth()

    def _begin(self) -> CorePool:
        with self._lock:
            core = self._core
            if core is None or core.retired:
                core = self._core = self._find_or_make()
        return core

    def _find_or_make(self) -> CorePool:
        if self.target:
            found = group.join(self.target, self.key, self._make, REDIS.name, self.bootstrap)
            if not isinstance(found, CorePool) or found.driver is not self._driver:
                raise ConfigurationError(
                    f"the target {self.target!r} has another pool in this process; give each a name of its own, or use one"
                )
            return found
        core = self._make()
        core.begin(None, None, self._core)
        core.open()
        return core

    def _make(self) -> CorePool:
        return CorePool(REDIS.name, self.target or "redis", self.bootstrap, self._driver, self.address)

    @property
    def address(self) -> str:
        """Where it connects to, for people."""
        return address(self.connection_kwargs)

    @property
    def managed(self) -> CorePool:
        """The pool behind it in the present process. That of a target is one of a group, whose settings it follows."""
        if not here:
            attend()
        core = self._core
        return self._begin() if core is None or core.retired else core

    # -- what others call of redis-py's pool --------------------------------------------------------------------------

    def make_connection(self) -> Any:
        """A connection that is not connected yet, and no pool's."""
        return self._make_connection(self.connection_kwargs)

    def _make_connection(self, kwargs: dict[str, Any]) -> Any:
        hide(kwargs)  # which a connection keeps, and its errors' frames show
        return tracked(self.connection_class)(**kwargs)

    def reset(self) -> None:
        """Nothing: callers want connections by new parameters, which are read at each connect, or not to share a parent's."""
        self.pid = os.getpid()

    @property
    def _created_connections(self) -> int:  # type: ignore[override]
        return 0 if self._core is None else self._core.places

    def _checkpid(self) -> None:
        if not here:
            attend()

    def disconnect(self, inuse_connections: bool = True) -> None:
        """Close what is idle, and break off what is used where that is asked for; fresh ones come as they are wanted."""
        self._checkpid()
        core = self._core
        if core is None or core.retired:
            return
        core.drop_idle()
        for connection in self._get_in_use_connections() if inuse_connections else ():
            connection.disconnect()

    def disconnect_free_connections(self, moving_address_src: str | None = None) -> None:
        """redis-py's, which a cluster's client calls when a node has moved: close what is idle, to one address or at all.

        It is taken out of the pool first: what redis-py's finds idle, somebody may have borrowed a moment later.
        """
        core = self._core
        if core is not None and not core.retired:
            core.drop_idle(lambda slot: moving_address_src in (None, slot.conn.getpeername()))

    def close(self) -> None:
        """Disconnect; a pool without a target ends, and begins anew when it is used again."""
        self.disconnect()
        if self._core is not None and not self.target:
            self._core.close()

    def owns_connection(self, connection: Any) -> bool:
        slot = getattr(connection, "slot", None)
        return slot is not None and slot.pool is self._core

    def re_auth_callback(self, token: Any) -> None:
        """New credentials: used connections log in again as they return, idle ones are closed."""
        for connection in self._get_in_use_connections():
            connection.set_re_auth_token(token)
        if self._core is not None:
            self._core.drop_idle()

    @property
    def timeout(self) -> float:
        """Seconds for which a request waits, as redis-py's blocking pool calls it."""
        return (self._core.spec if self._core is not None else self.bootstrap).connection_timeout

    @property
    def max_connections(self) -> int:
        return (self._core.spec if self._core is not None else self.bootstrap).max_size

    @max_connections.setter
    def max_connections(self, number: int) -> None:
        """redis-py's way to say it, for a pool that has no profile."""
        if self.target or not self._is_made:  # redis-py's constructor knows nothing of the settings
            return
        core = self._core
        spec = self.bootstrap if core is None else core.spec
        sizes = {"max_size": number, "min_size": min(spec.min_size, number)}
        spec = REDIS.make_spec({**spec.to_dict(), **sizes}, "max_connections")
        if core is None:
            self.bootstrap = spec
        else:
            core.apply(Desired(spec))

    @property
    def _available_connections(self) -> list[Any]:  # type: ignore[override]
        return self._get_free_connections()

    @property
    def _in_use_connections(self) -> set[Any]:  # type: ignore[override]
        return self._get_in_use_connections()

    def _get_free_connections(self) -> list[Any]:
        return self._connections("idle")

    def _get_in_use_connections(self) -> set[Any]:
        return set(self._connections("out"))

    def _connections(self, which: str) -> list[Any]:
        core = self._core
        if core is None:
            return []
        with core.lock:
            return [slot.conn for slot in getattr(core, which)]

    def __del__(self) -> None:
        """Nothing is counted for observers when it is collected, as redis-py's is."""


def _after_fork() -> None:
    for pool in list(_all):
        pool._lock = RLock()
        pool._fork_lock = RLock()


on_fork(_after_fork)
