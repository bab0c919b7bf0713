"""What threads and event loops have in common of a Redis Cluster, whose nodes have a pool each and are one target."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from inspect import iscoroutinefunction, ismethod
from itertools import count
from typing import Any
from weakref import WeakMethod, ref

from poolmgr.exceptions import ConfigurationError, PoolPaused
from poolmgr.pools.core.pool import CorePool
from poolmgr.targets.redis.library import redis
from poolmgr.targets.redis.pool import ManagedConnectionPool

_numbers = count(1)
#: What a node's connections are made with that leads to the cluster's client: a method, and an object.
ON_CONNECT = "redis_connect_func"
_OF_THE_CLIENT = (ON_CONNECT, "oss_cluster_maint_notifications_handler")
#: In a thread or task that looks where the slots are: that a pool is paused, as those of all nodes are then.
_told: ContextVar[list[PoolPaused] | None] = ContextVar("told", default=None)


def new_key() -> Hashable:
    """What tells one node's pool from all others of the process."""
    return "node", next(_numbers)


def check(target: str) -> None:
    """Raises ``ConfigurationError`` without a target, which is what holds the nodes together."""
    if not target:
        raise ConfigurationError("target is empty, but the pools of a cluster's nodes need one, which they share")


@contextmanager
def looking() -> Iterator[None]:
    """Around a client's look at where the slots are, which would have it that no node can be reached.

    Raises what a pool that is paused or exhausted says: the cluster is there.
    """
    before = _told.set([])
    try:
        yield
    except redis.exceptions.RedisClusterException as ex:
        if isinstance(ex.__cause__, redis.exceptions.MaxConnectionsError):
            raise ex.__cause__ from None
        raise
    finally:
        _told.reset(before)


def heed() -> None:
    """Before a node's pool is asked: raises what another's has said to the same look, so that a pause is waited for once."""
    if told := _told.get():
        raise told[0]


def note(paused: PoolPaused) -> None:
    """A node's pool is paused."""
    if (told := _told.get()) is not None:
        told.append(paused)


class DeclaredCluster:
    """What is handed out of a declared target that is a cluster; each half adds its client."""

    def __init__(self, url: str, target: str, pool: Mapping[str, Any] | None = None, **options: Any) -> None:
        """Nothing connects yet. Raises ``ConfigurationError`` for what a cluster has not, ``InvalidSpec``."""
        self.target = target
        self.url, self.pool, self.options = url, pool, options
        self._node: ManagedConnectionPool = ManagedConnectionPool.from_url(url, pool=pool, **options)
        if self._node.connection_kwargs.get("db") or "path" in self._node.connection_kwargs:
            raise ConfigurationError(
                f"the URL of {target!r} names another database than 0, or a socket, but a Redis Cluster has neither"
            )

    def make_connection(self) -> Any:
        """A connection to the node of the URL that is not connected yet, and no pool's."""
        return self._node.make_connection()


def leave(cores: Iterable[tuple[Hashable, CorePool]]) -> None:
    """End what a node had in its group, by its keys. Called by the garbage collector, in the middle of whatever: it takes
    no lock."""
    for key, core in cores:
        if core.peers is not None:
            core.peers.leave(key)


def weakened(kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """The same to connect by, without keeping the client: neither the group, nor a connection, keeps one that nobody uses."""
    return {**kwargs, **{name: _weak(kwargs[name]) for name in _OF_THE_CLIENT if kwargs.get(name) is not None}}


def weakly(method: Callable[..., Any]) -> Callable[..., Any]:
    """The same, without keeping its object; an error of redis-py's once that is gone."""
    held = WeakMethod(method)

    def call(*args: Any, **kwargs: Any) -> Any:
        if (found := held()) is None:
            raise redis.ConnectionError("nobody uses the client of this cluster any more")
        return found(*args, **kwargs)

    async def acall(*args: Any, **kwargs: Any) -> Any:
        return await call(*args, **kwargs)

    return acall if iscoroutinefunction(method) else call


def _weak(of: Any) -> Any:
    return weakly(of) if ismethod(of) else _Weak(of)


class _Weak:
    """Stands for an object of which methods are asked, without keeping it."""

    def __init__(self, of: Any) -> None:
        self._of = ref(of)

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._of(), name)
        return weakly(found) if ismethod(found) else found
