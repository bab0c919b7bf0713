"""A Redis Cluster by asyncio: what its tasks and loops have, wait for and leave."""

import asyncio
import gc
from collections.abc import Coroutine, Iterator
from time import monotonic
from typing import Any

import pytest
import redis

import poolmgr.aio
from poolmgr import exceptions
from poolmgr.pools import registry
from poolmgr.pools.desired import Desired
from poolmgr.pools.groups.group import Group
from poolmgr.pools.lane import console_lane
from poolmgr.targets.redis.asyncio.cluster import ManagedRedisCluster
from poolmgr.targets.redis.kind import REDIS
from tests.forking import in_child
from tests.redis_cluster import Cluster
from tests.waiting import until, when

# Each makes a cluster of its own.
pytestmark = pytest.mark.long

TARGET = "test:cluster"


@pytest.fixture(autouse=True)
def closed(no_agent: None) -> Iterator[None]:
    yield
    registry.close(TARGET)


def connect(cluster: Cluster, **pool: Any) -> Any:
    settings = {"min_size": 0, "connection_timeout": 5.0, **pool}
    return ManagedRedisCluster.from_url(cluster.url, target=TARGET, pool=settings)


def group() -> Group:
    found = registry.get(TARGET)
    assert isinstance(found, Group)
    return found


def at_servers(cluster: Cluster) -> int:
    """How many connections the nodes have, but for who asks."""
    found = 0
    for node in cluster.nodes:
        with cluster.admin(node) as admin:
            found += len(admin.client_list(_type="normal")) - 1
    return found


def run(main: Coroutine[Any, Any, Any]) -> Any:
    return asyncio.run(asyncio.wait_for(main, 60))


def test_many_tasks_share_few_connections_in_turn(running: Cluster) -> None:  # P3 P6
    async def work(client: Any, number: int) -> None:
        for turn in range(20):
            key = f"key{number}:{turn}"
            assert await client.set(key, f"{number}:{turn}")
            assert await client.get(key) == f"{number}:{turn}".encode()

    async def main() -> None:
        client = connect(running, max_size=3)
        await asyncio.gather(*(work(client, number) for number in range(30)))
        seen = group().snapshot()
        assert (seen.used, seen.pending, seen.timeouts) == (0, 0, 0)
        assert group().load().held <= 3

    run(main())


def test_holder_is_the_task_and_an_exhausted_node_says_so(running: Cluster) -> None:  # P9
    async def main() -> None:
        client = connect(running, max_size=4, connection_timeout=0.5)
        await client.set("queue", 1)
        node = client.get_node_from_key("queue")
        held = []
        with pytest.raises(exceptions.PoolExhausted) as caught:
            while True:
                held.append(await node.pool.get_connection())
        assert isinstance(caught.value, redis.exceptions.MaxConnectionsError)
        task = asyncio.current_task()
        assert task is not None
        assert all(task.get_name() in holder.thread for holder in group().snapshot().holders)
        with pytest.raises(exceptions.PoolExhausted):
            await client.get("queue")
        # Room for more is used at once by whoever waits.
        waits = asyncio.create_task(client.get("queue"))
        await asyncio.sleep(0)
        spec = REDIS.make_spec({"min_size": 0, "max_size": 6})
        registry.set_desired({TARGET: Desired(spec, "profile 1", 1)})
        assert await waits == b"1"
        for conn in held:
            await node.pool.release(conn)
        assert group().load().used == 0

    run(main())


def test_transactions_watch_and_come_back(running: Cluster) -> None:  # P2 P4
    async def main() -> None:
        client = connect(running, max_size=3)
        await client.set("{a}count", 0)

        async def add(pipe: Any) -> None:
            value = int(await pipe.get("{a}count"))
            pipe.multi()
            pipe.set("{a}count", value + 1)

        await asyncio.gather(*(client.transaction(add, "{a}count") for _ in range(5)))
        assert await client.get("{a}count") == b"5"
        async with client.pipeline(transaction=True) as pipe:
            assert await pipe.set("{a}one", 1).incr("{a}one").execute() == [True, 2]
        # One that is dropped in the middle.
        pipe = client.pipeline(transaction=True)
        await pipe.watch("{a}count")
        assert group().load().used == 1
        del pipe
        await _nobody_has_any()

    run(main())


def test_transaction_goes_on_while_the_client_looks_where_the_slots_are(running: Cluster) -> None:
    async def main() -> None:
        client = await connect(running, max_size=3)
        await client.mset_nonatomic({f"key{number}": 0 for number in range(20)})
        began = monotonic()
        async with client.pipeline(transaction=True) as pipe:
            await pipe.watch("key1")  # with the one connection that its node may have
            client._initialize = True  # as after an error
            looking = [asyncio.create_task(client.get("key1")) for _ in range(5)]
            await asyncio.sleep(0)
            value = int(await pipe.get("key1"))
            pipe.multi()
            pipe.set("key1", value + 1)
            pipe.eval("return redis.call('incr', KEYS[1])", 1, "key1")
            assert await pipe.execute() == [True, 2]
        assert await asyncio.gather(*looking) == [b"2"] * 5
        assert monotonic() - began < 4.0  # nobody's patience has been used up
        assert len(group().members) == 3
        async with client.pipeline(transaction=True) as pipe:
            pipe.set("a", 1).set("b", 1)
            with pytest.raises(redis.exceptions.CrossSlotTransactionError):
                await pipe.execute()
        async with client.pipeline(transaction=True) as pipe:
            await pipe.watch("a")
            with pytest.raises(redis.exceptions.CrossSlotTransactionError):
                await pipe.get("b")

    run(main())


async def _nobody_has_any() -> None:
    await when(lambda: gc.collect() >= 0 and not group().load().used, "all to come back")


def test_cancelled_at_any_await_a_command_takes_nothing_along(running: Cluster) -> None:  # P3 P4
    async def main() -> None:
        client = connect(running, max_size=3)
        await client.set("key", "mine")
        for turns in range(25):
            task = asyncio.create_task(client.get("key"))
            for _ in range(turns):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            assert group().load().used == 0
            assert await client.echo(f"yours {turns}", target_nodes=client.get_node_from_key("key")) == (
                f"yours {turns}".encode()
            )

    run(main())


@pytest.fixture
def declared(running: Cluster, settings: Any) -> Iterator[str]:
    each = {"KIND": "redis", "URL": running.url, "CLUSTER": True, "POOL": {"min_size": 0, "max_size": 9}}
    settings.POOLMGR = {**settings.POOLMGR, "TARGETS": {"sessions": each}}
    yield "sessions"
    settings.POOLMGR = {"AGENT": False}


def test_each_loop_has_a_client_of_its_own_and_takes_all_of_it_along(  # P3 P4 P6
    running: Cluster, declared: str, recwarn: Any
) -> None:
    until(lambda: gc.collect() >= 0 and at_servers(running) == 0, "others' connections to go")
    recwarn.clear()  # of what others have dropped
    seen: list[Any] = []

    async def main() -> None:
        pool = poolmgr.aio.pool(declared)
        client = pool.client
        assert pool.client is client
        await client.mset_nonatomic({f"key{number}": number for number in range(20)})
        seen.append(client)
        found: Any = registry.get(declared)
        assert len([key for key in found.members if asyncio.get_running_loop() in key]) == 3
        assert len(found.snapshot().backend_pids) <= 9

    for _ in range(3):
        asyncio.run(main())
    assert len(set(map(id, seen))) == 3
    until(lambda: at_servers(running) == 0, "what the loops had to be gone")
    seen.clear()
    gc.collect()
    assert [str(each.message) for each in recwarn if issubclass(each.category, ResourceWarning)] == []
    # Threads are of the same target.
    poolmgr.pool(declared).client.mget_nonatomic([f"key{number}" for number in range(20)])
    found = registry.get(declared)
    assert found is not None
    assert found.snapshot().address == ", ".join(sorted(f"127.0.0.1:{node.port}/0" for node in running.nodes))


def test_forked_child_has_a_client_of_its_own(declared: str) -> None:  # P3
    async def ids() -> list[int]:
        client = await poolmgr.aio.pool(declared).client
        return [await client.client_id(target_nodes=node) for node in client.get_primaries()]

    async def main() -> None:
        mine = await ids()

        def child() -> list[int]:
            asyncio._set_running_loop(None)
            own = asyncio.run(ids())
            gc.collect()
            return own

        assert in_child(child) != mine
        assert await ids() == mine

    run(main())


def test_pause_is_told_as_such_by_a_client_that_must_look_where_the_slots_are(running: Cluster) -> None:  # P9
    async def main() -> None:
        client = await connect(running, max_size=3, connection_timeout=0.5)
        await client.set("key", 1)
        group().pause()
        client._initialize = True  # as after an error
        began = monotonic()
        with pytest.raises(exceptions.PoolPaused):
            await client.get("key")
        # Once, and not for each node that could know.
        assert monotonic() - began < 1.2
        waits = asyncio.create_task(client.get("key"))
        await asyncio.sleep(0.05)
        group().resume()
        assert await waits == b"1"

    run(main())


def test_console_does_not_wait_for_a_paused_cluster(running: Cluster) -> None:  # P10
    async def main() -> None:
        client = await connect(running, max_size=3)
        await client.set("key", 1)
        group().pause()
        with console_lane():
            assert await client.get("key") == b"1"
        assert group().load().used == 0

    run(main())


def test_what_a_managed_cluster_cannot_do_is_refused_with_a_sentence(running: Cluster) -> None:
    for arguments, says in (
        ({"max_connections": 5}, "give it max_size"),
        ({"pool": 5}, "must be a dict of a profile's settings"),
    ):
        with pytest.raises(exceptions.ConfigurationError, match=says):
            ManagedRedisCluster.from_url(running.url, **{"target": TARGET, **arguments})
    with pytest.raises(exceptions.InvalidSpec):
        ManagedRedisCluster.from_url(running.url, target=TARGET, pool={"max_size": -1})

    async def main() -> None:
        client = await connect(running, max_size=3)
        node = client.get_primaries()[0]
        with pytest.raises(redis.RedisError, match=r"await node\.pool\.get_connection\(\)"):
            node.acquire_connection()
        conn = await node.pool.get_connection()
        await node.pool.release(conn)

    run(main())
