"""A Redis Cluster by asyncio: redis-py's client, whose nodes have a managed pool each and are one target."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from redis._parsers.commands import AsyncCommandsParser
from redis.asyncio import cluster as theirs
from redis.asyncio import connection

from poolmgr.targets.redis import nodes
from poolmgr.targets.redis.arguments import bootstrap, refuse
from poolmgr.targets.redis.asyncio.nodes import ManagedNode, ManagedNodes
from poolmgr.targets.redis.library import redis


class ManagedRedisCluster(theirs.RedisCluster):
    """``redis.asyncio.RedisCluster``, all of whose nodes are one target: its settings, ``max_size`` and budget are those of
    all together, of which each gets a share by demand.

    ``pool`` has the settings before any profile; all else is as in redis-py's, and so is that one event loop uses it. What
    it has ends with its loop, with ``aclose()``, or when nobody uses it any more.

    Raises ``InvalidSpec`` and ``ConfigurationError``, also without a ``target``.
    """

    def __init__(self, *args: Any, target: str, pool: Mapping[str, Any] | None = None, **kwargs: Any) -> None:
        nodes.check(target)
        refuse(
            connection.Connection, kwargs.get("max_connections"), target, None, kwargs, connection.AbstractConnection
        )
        bootstrap(pool, None, None, target)  # which tells what is wrong with it
        super().__init__(*args, **kwargs)
        self.nodes_manager = ManagedNodes(self.nodes_manager, target, pool)
        self.commands_parser = _CommandsParser()

    def pipeline(self, transaction: Any = None, shard_hint: Any = None) -> theirs.ClusterPipeline:
        """redis-py's."""
        made = super().pipeline(transaction, shard_hint)
        if transaction:
            made._execution_strategy = _Transaction(made)
        return made

    def pubsub(self, node: Any = None, host: Any = None, port: Any = None, **kwargs: Any) -> Any:
        """redis-py's."""
        return _PubSub(self, node=node, host=host, port=port, **kwargs)

    def __del__(self, *args: Any) -> None:
        """Its nodes' pools end, and nothing is left open."""


class _CommandsParser(AsyncCommandsParser):
    """It asks for the server's commands once, and not at each look at where the slots are, for one more connection."""

    async def initialize(self, node: Any = None) -> None:
        """redis-py's."""
        if node is None or not self.commands:
            await super().initialize(node)
        else:
            self.node = node


class _Transaction(theirs.TransactionStrategy):
    """Its connection is laid ready for it, since it takes one without waiting. All that it does is done in its loop, where
    redis-py has a thread with a loop of its own for each command, to find its slot."""

    def execute_command(self, *args: Any, **kwargs: Any) -> Any:
        """redis-py's: an answer to be awaited while keys are watched, else the pipeline."""
        if (self._watching or args[0] in self.IMMEDIATE_EXECUTE_COMMANDS) and not self._explicit_transaction:
            return self._at_once(*args, **kwargs)
        return theirs.AbstractStrategy.execute_command(self, *args, **kwargs)

    async def _at_once(self, *args: Any, **kwargs: Any) -> Any:
        if args[0] == "WATCH":
            self._validate_watch()  # type: ignore[no-untyped-call]
        slots = await self._slots_of([args])
        if len(self._pipeline_slots | slots) > 1:
            raise redis.exceptions.CrossSlotTransactionError("keys that are watched together must be of one slot")
        self._pipeline_slots |= slots
        return await self._immediate_execute_command(*args, **kwargs)  # type: ignore[no-untyped-call]

    async def _slots_of(self, commands: Iterable[Sequence[Any]]) -> set[int]:
        client = self._pipe.cluster_client
        # Who looks where the slots are may wait for just the connection that this one has.
        if self._transaction_connection is None:
            await client.initialize()
        keyed = [args for args in commands if args[0] not in self.NO_SLOTS_COMMANDS]
        return {slot for args in keyed if (slot := await client._determine_slot(*args)) is not None}

    async def _get_connection_and_send_command(self, *args: Any, **options: Any) -> Any:
        await self._lay_ready()
        return await super()._get_connection_and_send_command(*args, **options)  # type: ignore[no-untyped-call]

    async def _execute_transaction(self, stack: Any, raise_on_error: bool) -> Any:
        self._pipeline_slots |= await self._slots_of(command.args for command in stack)
        await self._lay_ready()
        return await super()._execute_transaction(stack, raise_on_error)

    async def _lay_ready(self) -> None:
        if self._transaction_connection is None and len(self._pipeline_slots) == 1:
            (slot,) = self._pipeline_slots
            node: Any = self._pipe.cluster_client.nodes_manager.get_node_from_slot(slot, False)
            await node.lay_ready()


class _PubSub(theirs.ClusterPubSub):
    """It borrows of its node's pool, without redis-py's adapter in between."""

    @property
    def connection_pool(self) -> Any:
        return self._pool

    @connection_pool.setter
    def connection_pool(self, given: Any) -> None:
        self._pool = _pool_behind(given)

    def _get_node_pubsub(self, node: Any) -> Any:
        found = super()._get_node_pubsub(node)
        found.connection_pool = _pool_behind(found.connection_pool)
        return found


def _pool_behind(given: Any) -> Any:
    node = getattr(given, "_node", None)
    return node.pool if isinstance(node, ManagedNode) else given


class AsyncCluster(nodes.DeclaredCluster):
    """What event loops are handed of one."""

    def __init__(self, url: str, target: str, pool: Mapping[str, Any] | None = None, **options: Any) -> None:
        super().__init__(url, target, pool, **options)
        self._clients: dict[asyncio.AbstractEventLoop, ManagedRedisCluster] = {}

    @property
    def client(self) -> ManagedRedisCluster:
        """The running loop's, which asks the node of the URL where the others are with its first command.

        Raises ``RuntimeError`` where no loop runs, ``ConfigurationError``.
        """
        loop = asyncio.get_running_loop()
        for other in [each for each in list(self._clients) if each.is_closed()]:
            self._clients.pop(other, None)
        # Nobody else makes one for this loop, whose thread this is.
        if loop not in self._clients:
            made: Any = ManagedRedisCluster.from_url(self.url, target=self.target, pool=self.pool, **self.options)
            self._clients[loop] = made
        return self._clients[loop]
