"""A Redis Cluster: a pool for each of its nodes, which are one target."""

from __future__ import annotations

import os
from collections.abc import Callable, Hashable, Mapping
from inspect import ismethod
from itertools import count
from threading import RLock
from typing import Any
from weakref import WeakMethod, WeakValueDictionary, finalize, ref

from poolmgr.exceptions import ConfigurationError, ServerDown
from poolmgr.pools.core.pool import CorePool
from poolmgr.targets.redis.driver import RedisDriver
from poolmgr.targets.redis.library import redis
from poolmgr.targets.redis.pool import ManagedConnectionPool

_numbers = count(1)
#: What a node's connections are made with that leads to the cluster's client: a method, and an object.
_ON_CONNECT = "redis_connect_func"
_OF_THE_CLIENT = (_ON_CONNECT, "oss_cluster_maint_notifications_handler")


class NodePools:
    """For ``connection_pool_class`` of ``redis.RedisCluster.from_url()``: makes the pool of each node that the client finds.

    All are one target: its settings, ``max_size`` and budget are those of all nodes together, of which each gets a share by
    demand. ``pool`` has the settings before any profile. The pool of a node that has left ends.
    """

    def __init__(self, target: str, pool: Mapping[str, Any] | None = None) -> None:
        """Raises ``ConfigurationError`` without a target, which is what holds the nodes together."""
        if not target:
            raise ConfigurationError("target is empty, but the pools of a cluster's nodes need one, which they share")
        self._target, self._pool = target, pool
        self._made: WeakValueDictionary[tuple[str, int], NodePool] = WeakValueDictionary()

    def __call__(self, **kwargs: Any) -> NodePool:
        """redis-py's: the pool of one node. Raises ``InvalidSpec``, ``ConfigurationError``."""
        where = kwargs["host"], kwargs["port"]
        found = self._made.get(where)
        # A client makes a pool to ask where the nodes are, and then one for each; another client has its own.
        if found is None or found.connection_kwargs.get(_ON_CONNECT) != kwargs.get(_ON_CONNECT):
            found = self._made[where] = NodePool(target=self._target, pool=self._pool, **kwargs)
        return found


class Cluster:
    """What is handed out of a declared target that is a cluster."""

    def __init__(self, url: str, target: str, pool: Mapping[str, Any] | None = None, **options: Any) -> None:
        """Nothing connects yet. Raises ``ConfigurationError`` for what a cluster has not, ``InvalidSpec``."""
        self.target = target
        self._url, self._pool, self._options = url, pool, options
        self._node: ManagedConnectionPool = ManagedConnectionPool.from_url(url, pool=pool, **options)
        if self._node.connection_kwargs.get("db") or "path" in self._node.connection_kwargs:
            raise ConfigurationError(
                f"the URL of {target!r} names another database than 0, or a socket, but a Redis Cluster has neither"
            )
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
                pools: Any = NodePools(self.target, self._pool)
                made: redis.RedisCluster = redis.RedisCluster.from_url(
                    self._url, connection_pool_class=pools, **self._options
                )
                self._clients[pid] = made
            return self._clients[pid]

    def make_connection(self) -> Any:
        """A connection to the node of the URL that is not connected yet, and no pool's."""
        return self._node.make_connection()


class NodePool(ManagedConnectionPool):
    """The pool of one node, which ends when the client drops it.

    A node that is away fails its requests at once, with redis-py's own ``ConnectionError``: only upon that does a client
    look where the slots are now, and try again there.
    """

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.key = ("node", next(_numbers))
        # Neither the group, nor a connection, keeps a client that nobody uses any more.
        self._driver = RedisDriver(_weakly(self.make_connection))
        self._cores: list[CorePool] = []
        finalize(self, _leave, self.key, self._cores)

    def get_connection(self, command_name: Any = None, *keys: Any, **options: Any) -> Any:
        """A live connection. Raises ``redis.ConnectionError`` where the node is away, else a ``CheckoutError``."""
        try:
            return super().get_connection(command_name, *keys, **options)
        except ServerDown as ex:
            raise redis.ConnectionError(str(ex)) from ex

    def _make(self) -> CorePool:
        core = super()._make()
        core.is_patient = False
        self._cores[:] = [core]
        return core

    def make_connection(self) -> Any:
        """A connection that is not connected yet, and no pool's."""
        kwargs = self.connection_kwargs
        weak = {name: _Weak(kwargs[name]) for name in _OF_THE_CLIENT if kwargs.get(name) is not None}
        made = {**kwargs, **weak}
        made.pop("maint_notifications_pool_handler", None)  # that of a pool that is no cluster's, and keeps the pool
        return self._make_connection(made)

    def update_maint_notifications_config(self, *args: Any, **kwargs: Any) -> None:
        """redis-py's: the client has a handler now. Connections from before would keep it, and with it the client."""
        super().update_maint_notifications_config(*args, **kwargs)
        self.disconnect(inuse_connections=False)


def _leave(key: Hashable, cores: list[CorePool]) -> None:
    # Called by the garbage collector, in the middle of whatever: it takes no lock.
    for core in cores:
        if core.peers is not None:
            core.peers.leave(key)


def _weakly(method: Callable[..., Any]) -> Callable[..., Any]:
    """The same, without keeping its object; nothing once that is gone."""
    held = WeakMethod(method)

    def call(*args: Any, **kwargs: Any) -> Any:
        if (found := held()) is None:
            raise redis.ConnectionError("nobody uses the client of this cluster any more")
        return found(*args, **kwargs)

    return call


class _Weak:
    """Stands for a method, or for an object of which methods are asked, without keeping its object."""

    def __init__(self, of: Any) -> None:
        self._of = _weakly(of) if ismethod(of) else ref(of)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._of(*args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._of(), name)
        return _weakly(found) if ismethod(found) else found
