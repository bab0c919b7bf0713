"""The nodes of a Redis Cluster by asyncio, each of which borrows of a managed pool where redis-py's keep connections."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from contextvars import ContextVar
from threading import get_ident
from typing import Any
from weakref import WeakValueDictionary, finalize

from redis.asyncio.cluster import ClusterNode, NodesManager
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from poolmgr.exceptions import PoolPaused, ServerDown
from poolmgr.pools.aio.bridge import Bridge
from poolmgr.pools.aio.perloop import PerLoop
from poolmgr.pools.aio.pool import LoopPool
from poolmgr.pools.core.pool import CorePool
from poolmgr.targets.redis import nodes
from poolmgr.targets.redis.asyncio.pool import AsyncManagedConnectionPool
from poolmgr.targets.redis.kind import REDIS
from poolmgr.targets.redis.library import redis

#: The node at which the task's next command is to be asked for. redis-py says so as a command of its own, which may go over
#: another connection than what it is about.
_asks: ContextVar[ManagedNode | None] = ContextVar("asks", default=None)


class AsyncNodePool(AsyncManagedConnectionPool):
    """The pool of one node. One that is away fails its requests at once, as that of threads does."""

    def __init__(self, connection_class: Any, *, target: str, pool: Mapping[str, Any] | None, **kwargs: Any) -> None:
        # The client tries again, where the slots are then.
        kwargs["retry"] = Retry(NoBackoff(), 0, (redis.ConnectionError,))
        super().__init__(connection_class, target=target, pool=pool, **nodes.weakened(kwargs))
        self._loops = PerLoop(self._make, target, REDIS.name, self.bootstrap, nodes.new_key())
        self.cores: list[tuple[Hashable, CorePool]] = []

    async def get_connection(self, command_name: Any = None, *keys: Any, **options: Any) -> Any:
        """A live connection. Raises ``redis.ConnectionError`` where the node is away, else a ``CheckoutError``."""
        try:
            return await super().get_connection(command_name, *keys, **options)
        except ServerDown as ex:
            raise redis.ConnectionError(str(ex)) from ex

    def _make(self, bridge: Bridge) -> LoopPool:
        core = super()._make(bridge)
        core.is_patient = False
        self.cores[:] = [*(each for each in self.cores if not each[1].retired), (self._loops.key(bridge.loop), core)]
        return core

    def drop_idle(self) -> None:
        """Close what is idle in this loop."""
        core = self._loops.now()
        if core is not None and not core.retired:
            core.drop_idle()


class ManagedNode(ClusterNode):
    """redis-py's node takes a connection without waiting for one: here it is laid ready for it first.

    It is given back in whatever state, as to any managed pool. The pool ends when the node is dropped.
    """

    __slots__ = ("__weakref__", "_laid", "pool")

    def __init__(self, like: ClusterNode, target: str, settings: Mapping[str, Any] | None) -> None:
        kwargs = {**like.connection_kwargs, "response_callbacks": like.response_callbacks}
        where = kwargs.pop("host"), kwargs.pop("port")
        super().__init__(*where, like.server_type, connection_class=like.connection_class, **kwargs)
        self._laid: dict[int, Any] = {}  # by thread
        self.pool = AsyncNodePool(like.connection_class, target=target, pool=settings, **self.connection_kwargs)
        finalize(self, nodes.leave, self.pool.cores)

    async def lay_ready(self) -> None:
        """Borrow what ``acquire_connection()`` takes, which must come before anything else is awaited."""
        connection = await self._borrow()
        if _asks.get() is self:
            await self._ask(connection)
        self._laid[get_ident()] = connection

    async def _borrow(self) -> Any:
        nodes.heed()
        try:
            return await self.pool.get_connection()
        except PoolPaused as ex:
            nodes.note(ex)
            raise

    async def _ask(self, connection: Any) -> None:
        _asks.set(None)
        try:
            await connection.send_command("ASKING")
            await connection.read_response()
        except BaseException:
            self.pool.give_back(connection)
            raise

    async def execute_command(self, *args: Any, **kwargs: Any) -> Any:
        """redis-py's. Raises a ``CheckoutError``, or what the command does."""
        if args == ("ASKING",):
            _asks.set(self)
            return "OK"
        await self.lay_ready()
        return await super().execute_command(*args, **kwargs)

    async def execute_pipeline(self, commands: Any) -> bool:
        """redis-py's. Raises a ``CheckoutError``."""
        await self.lay_ready()
        return bool(await super().execute_pipeline(commands))

    def acquire_connection(self) -> Any:
        """What was laid ready. Raises ``redis.RedisError`` where nothing was."""
        try:
            return self._laid.pop(get_ident())
        except KeyError:
            raise redis.RedisError(
                "acquire_connection() of a managed node can't wait for a connection: await"
                " node.pool.get_connection() instead, and node.pool.release() it"
            ) from None

    def release(self, connection: Any) -> None:
        self.pool.give_back(connection)

    async def disconnect_if_needed(self, connection: Any) -> None:
        """Nothing: one that redis-py wants to connect again is closed as it is given back."""

    async def disconnect(self) -> None:
        """Close what is idle now, and what is used as it is given back: a client that begins anew, as it does after a few
        errors of one of its tasks, breaks nothing off that others are in the middle of."""
        self.update_active_connections_for_reconnect()
        self.pool.drop_idle()

    async def disconnect_free_connections(self) -> None:
        self.pool.drop_idle()

    async def re_auth_callback(self, token: Any) -> None:
        await self.pool.re_auth_callback(token)

    @property
    def _connections(self) -> Any:
        return [*self._free, *self.pool._get_in_use_connections()]

    @_connections.setter
    def _connections(self, connections: Any) -> None:
        """redis-py's constructor has an empty list of its own."""

    @property
    def _free(self) -> Any:
        return self.pool._get_free_connections()

    @_free.setter
    def _free(self, connections: Any) -> None:
        """As above."""

    def __del__(self, *args: Any) -> None:
        """Its pool ends, and nothing is left open."""


class ManagedNodes(NodesManager):
    """In place of the manager that redis-py has made: each node that it finds becomes a managed one, and stays the same."""

    __slots__ = ("_made", "_settings", "_target")

    def __init__(self, before: NodesManager, target: str, settings: Mapping[str, Any] | None) -> None:
        for name in NodesManager.__slots__:
            setattr(self, name, getattr(before, name))
        self._target, self._settings = target, settings
        self._made: WeakValueDictionary[str, ManagedNode] = WeakValueDictionary()
        self.startup_nodes = {name: self._own(node) for name, node in before.startup_nodes.items()}

    def _own(self, node: ClusterNode) -> ManagedNode:
        if isinstance(node, ManagedNode):
            return node
        found = self._made.get(node.name)
        if found is None:
            found = self._made[node.name] = ManagedNode(node, self._target, self._settings)
        found.server_type = node.server_type or found.server_type
        return found

    def _at(self, host: str, port: int) -> ManagedNode:
        return self._own(ClusterNode(host, port, **self.connection_kwargs))

    def set_nodes(self, old: dict[str, Any], new: dict[str, Any], remove_old: bool = False) -> None:
        own: dict[str, Any] = {name: self._own(node) for name, node in new.items()}
        known = [node for name, node in own.items() if name in old] if old is self.nodes_cache else []
        super().set_nodes(old, own, remove_old)  # which marks what there is to be connected again
        for node in known:
            node.pool.drop_idle()

    async def initialize(self, additional_startup_nodes_info: Any = None, *args: Any, **kwargs: Any) -> None:
        """redis-py's, which would connect to the additional ones beside all pools.

        Raises what a pool that is paused or exhausted says: the cluster is there.
        """
        for host, port in additional_startup_nodes_info or ():
            node = self._at(host, port)
            self.startup_nodes.setdefault(node.name, node)
        with nodes.looking():
            await super().initialize(None, *args, **kwargs)

    async def move_slot(self, e: Any) -> None:
        """redis-py's, which would put a node that nobody knew yet in the slot as it is."""
        if self.get_node(host=e.host, port=e.port) is None:
            node = self._at(e.host, e.port)
            self.set_nodes(self.nodes_cache, {node.name: node})
        await super().move_slot(e)
