"""A Redis Cluster: a pool for each of its nodes, which are one target."""

from __future__ import annotations

import os
from collections.abc import Hashable, Mapping
from threading import RLock
from typing import Any
from weakref import WeakValueDictionary, finalize

from redis.cluster import NodesManager

from poolmgr.exceptions import ConfigurationError, PoolPaused, ServerDown
from poolmgr.pools.core.pool import CorePool
from poolmgr.secrets import Secret
from poolmgr.targets.redis import nodes
from poolmgr.targets.redis.driver import RedisDriver
from poolmgr.targets.redis.library import redis
from poolmgr.targets.redis.pool import ManagedConnectionPool


class ManagedRedisCluster(redis.RedisCluster):
    """``redis.RedisCluster``, all of whose nodes are one target: its settings, ``max_size`` and budget are those of all
    together, of which each gets a share by demand.

    It is made by ``from_url()``. ``pool`` has the settings before any profile; all else is as in redis-py's. The pool of a
    node that has left ends, and so do all when nobody uses the client any more.

    Raises ``InvalidSpec`` and ``ConfigurationError``, also without a ``target``, redis-py's errors where the node of the URL
    can't tell where the others are, and ``PoolPaused``.
    """

    def __init__(self, *args: Any, target: str, pool: Mapping[str, Any] | None = None, **kwargs: Any) -> None:
        nodes.check(target)
        if kwargs.get("url") is None:
            raise ConfigurationError(
                f"the client of {target!r} is made without a URL, from which redis-py makes pools of its own: use from_url()"
            )
        kwargs["url"] = Secret(kwargs["url"])
        with nodes.looking():
            super().__init__(*args, connection_pool_class=_NodePools(target, pool), **kwargs)
        self.nodes_manager.__class__ = _Nodes


class _Nodes(NodesManager):
    def initialize(self, *args: Any, **kwargs: Any) -> None:
        """redis-py's. Raises what a pool that is paused or exhausted says."""
        with nodes.looking():
            super().initialize(*args, **kwargs)


class _NodePools:
    """A client's ``connection_pool_class``: makes the pool of each node that it finds."""

    def __init__(self, target: str, pool: Mapping[str, Any] | None) -> None:
        self._target, self._pool = target, pool
        self._made: WeakValueDictionary[tuple[str, int], NodePool] = WeakValueDictionary()

    def __call__(self, **kwargs: Any) -> NodePool:
        """The pool of one node. Raises ``InvalidSpec``, ``ConfigurationError``."""
        where = kwargs["host"], kwargs["port"]
        # A client makes a pool to ask where the nodes are, and then one for each.
        if (found := self._made.get(where)) is None:
            found = self._made[where] = NodePool(target=self._target, pool=self._pool, **kwargs)
        return found


class Cluster(nodes.DeclaredCluster):
    """What threads are handed of one."""

    def __init__(self, url: str, target: str, pool: Mapping[str, Any] | None = None, **options: Any) -> None:
        super().__init__(url, target, pool, **options)
        self._clients: dict[int, ManagedRedisCluster] = {}  # by process: its locks may have been held at a fork
        self._locks: dict[int, Any] = {}

    @property
    def client(self) -> ManagedRedisCluster:
        """This process's, made when it is asked for first, upon which it asks the node of the URL where the others are.

        Raises redis-py's errors where that can't tell, and ``PoolPaused``.
        """
        pid = os.getpid()
        with self._locks.setdefault(pid, RLock()):
            if pid not in self._clients:
                made: Any = ManagedRedisCluster.from_url(self.url, target=self.target, pool=self.pool, **self.options)
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
        nodes.heed()
        try:
            return super().get_connection(command_name, *keys, **options)
        except PoolPaused as ex:
            nodes.note(ex)
            raise
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
