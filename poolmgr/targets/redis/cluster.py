"""A Redis Cluster: a pool for each of its nodes, which are one target."""

from __future__ import annotations

import os
from collections.abc import Hashable, Mapping
from threading import RLock
from typing import Any
from weakref import WeakValueDictionary, finalize

from poolmgr.exceptions import ServerDown
from poolmgr.pools.core.pool import CorePool
from poolmgr.targets.redis import nodes
from poolmgr.targets.redis.driver import RedisDriver
from poolmgr.targets.redis.library import redis
from poolmgr.targets.redis.pool import ManagedConnectionPool


class NodePools:
    """For ``connection_pool_class`` of ``redis.RedisCluster.from_url()``: makes the pool of each node that the client finds.

    All are one target: its settings, ``max_size`` and budget are those of all nodes together, of which each gets a share by
    demand. ``pool`` has the settings before any profile. The pool of a node that has left ends.
    """

    def __init__(self, target: str, pool: Mapping[str, Any] | None = None) -> None:
        """Raises ``ConfigurationError`` without a target, which is what holds the nodes together."""
        nodes.check(target)
        self._target, self._pool = target, pool
        self._made: WeakValueDictionary[tuple[str, int], NodePool] = WeakValueDictionary()

    def __call__(self, **kwargs: Any) -> NodePool:
        """redis-py's: the pool of one node. Raises ``InvalidSpec``, ``ConfigurationError``."""
        where = kwargs["host"], kwargs["port"]
        found = self._made.get(where)
        # A client makes a pool to ask where the nodes are, and then one for each; another client has its own.
        if found is None or found.connection_kwargs.get(nodes.ON_CONNECT) != kwargs.get(nodes.ON_CONNECT):
            found = self._made[where] = NodePool(target=self._target, pool=self._pool, **kwargs)
        return found


class Cluster(nodes.DeclaredCluster):
    """What threads are handed of one."""

    def __init__(self, url: str, target: str, pool: Mapping[str, Any] | None = None, **options: Any) -> None:
        super().__init__(url, target, pool, **options)
        self._clients: dict[int, redis.RedisCluster] = {}  # by process: its locks may have been held at a fork
        self._locks: dict[int, Any] = {}

    @property
    def client(self) -> redis.RedisCluster:
        """This process's, made when it is asked for first, upon which it asks the node of the URL where the others are.

        Raises redis-py's errors where that can't tell.
        """
        pid = os.getpid()
        with self._locks.setdefault(pid, RLock()):
            if pid not in self._clients:
                pools: Any = NodePools(self.target, self.pool)
                made: redis.RedisCluster = redis.RedisCluster.from_url(
                    self.url, connection_pool_class=pools, **self.options
                )
                self._clients[pid] = made
            return self._clients[pid]


class NodePool(ManagedConnectionPool):
    """The pool of one node, which ends when the client drops it.

    A node that is away fails its requests at once, with redis-py's own ``ConnectionError``: only upon that does a client
    look where the slots are now, and try again there.
    """

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.key = nodes.new_key()
        self._driver = RedisDriver(nodes.weakly(self.make_connection))
        self._cores: list[tuple[Hashable, CorePool]] = []
        finalize(self, nodes.leave, self._cores)

    def get_connection(self, command_name: Any = None, *keys: Any, **options: Any) -> Any:
        """A live connection. Raises ``redis.ConnectionError`` where the node is away, else a ``CheckoutError``."""
        try:
            return super().get_connection(command_name, *keys, **options)
        except ServerDown as ex:
            raise redis.ConnectionError(str(ex)) from ex

    def _make(self) -> CorePool:
        core = super()._make()
        core.is_patient = False
        self._cores[:] = [(self.key, core)]
        return core

    def make_connection(self) -> Any:
        """A connection that is not connected yet, and no pool's."""
        made = nodes.weakened(self.connection_kwargs)
        made.pop("maint_notifications_pool_handler", None)  # that of a pool that is no cluster's, and keeps the pool
        return self._make_connection(made)

    def update_maint_notifications_config(self, *args: Any, **kwargs: Any) -> None:
        """redis-py's: the client has a handler now. Connections from before would keep it, and with it the client."""
        super().update_maint_notifications_config(*args, **kwargs)
        self.disconnect(inuse_connections=False)
