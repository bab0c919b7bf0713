"""Redis Cluster: a pool for each node, and one target."""

import gc
import threading
from collections.abc import Iterator
from functools import partial
from itertools import count
from time import monotonic
from typing import Any

import pytest
import redis
from celery import Celery
from redis.cluster import LoadBalancingStrategy, RedisCluster
from redis.crc import key_slot

import poolmgr
import poolmgr.aio
from poolmgr import exceptions
from poolmgr.control.reporting.health import check_target
from poolmgr.pools import registry
from poolmgr.pools.desired import Desired
from poolmgr.pools.groups.group import Group
from poolmgr.targets.redis.cluster import ManagedRedisCluster
from poolmgr.targets.redis.kind import REDIS
from tests.forking import in_child
from tests.kinds.halves import Threads
from tests.redis_cluster import Cluster
from tests.threads import at_once, under_load
from tests.waiting import until

# Each makes a cluster of its own.
pytestmark = pytest.mark.long

TARGET = "test:cluster"


@pytest.fixture(autouse=True)
def closed(no_agent: None) -> Iterator[None]:
    yield
    registry.close(TARGET)


def connect(half: Threads, cluster: Cluster, **pool: Any) -> Any:
    return half.cluster(cluster.url, TARGET, {"min_size": 0, "connection_timeout": 5.0, **pool})


def group() -> Group:
    found = registry.get(TARGET)
    assert isinstance(found, Group)
    return found


def test_nodes_of_a_cluster_are_one_target(half: Threads, running: Cluster) -> None:
    others = {pool.target for pool in registry.pools()}  # of tests before
    client = connect(half, running, max_size=6)
    for number in range(50):
        assert client.set(f"key{number}", number)
        assert client.get(f"key{number}") == str(number).encode()
    assert len(group().members) == 3
    seen = group().snapshot()
    assert (seen.target, seen.kind, seen.max_size, seen.used) == (TARGET, "redis", 6, 0)
    assert seen.checkouts >= 100
    assert seen.address == ", ".join(sorted(f"127.0.0.1:{node.port}/0" for node in running.nodes))
    assert {pool.target for pool in registry.pools()} - others == {TARGET}
    client.close()


def test_all_nodes_together_never_hold_more_than_max_size(half: Threads, running: Cluster) -> None:  # P6
    admins = [running.admin(node) for node in running.nodes]

    def ours() -> int:
        return sum(len(admin.client_list()) - 1 for admin in admins)

    until(lambda: gc.collect() >= 0 and ours() == 0, "others' clients to go")
    client = connect(half, running, max_size=4)
    turn, most = count(), []
    with under_load(*[lambda: client.incr(f"key{next(turn) % 240}")] * 8) as errors:
        for size in (4, 3, 6, 4):
            spec = REDIS.make_spec({"min_size": 0, "max_size": size})
            registry.set_desired({TARGET: Desired(spec, "profile 1", size)})
            until(lambda size=size: group().load().held <= size)  # type: ignore[misc]
            for _ in range(20):
                most.append((size, ours()))
    assert errors == []
    assert all(held <= size for size, held in most), most
    client.close()
    for admin in admins:
        admin.close()


def test_pause_resume_and_recycle_reach_every_node(half: Threads, running: Cluster) -> None:
    client = connect(half, running, max_size=6, connection_timeout=0.2)
    client.mset_nonatomic({f"key{number}": number for number in range(20)})
    group().pause()
    # Told at once, and not once for each try and node: nobody has gone away.
    with pytest.raises(exceptions.PoolPaused):
        client.get("key1")
    group().resume()
    assert client.get("key1") == b"1"
    done = group().recycle(10)
    assert done.replaced == group().snapshot().idle
    assert client.get("key1") == b"1"
    client.close()


def test_a_look_at_where_the_slots_are_tells_of_a_pause_once(half: Threads, running: Cluster) -> None:  # P8 P9
    client = connect(half, running, max_size=6, connection_timeout=1.0)
    client.mset_nonatomic({f"key{number}": number for number in range(20)})
    group().pause()
    for look in (client.nodes_manager.initialize, lambda: connect(half, running)):
        began = monotonic()
        with pytest.raises(exceptions.PoolPaused) as caught:
            look()
        assert isinstance(caught.value, redis.RedisError)
        # Whichever node is asked, all are paused.
        assert monotonic() - began < 2.5
    group().resume()
    assert client.get("key1") == b"1"
    client.close()


def test_pipelines_and_subscriptions_work(half: Threads, running: Cluster) -> None:
    client = connect(half, running, max_size=6)
    pipe = client.pipeline()
    for number in range(20):
        pipe.set(f"key{number}", number)
    assert all(pipe.execute())
    listener = client.pubsub()
    listener.subscribe("channel")
    until(lambda: listener.get_message(timeout=1))
    client.publish("channel", "hello")
    got = until(lambda: listener.get_message(timeout=1))
    assert got["data"] == b"hello"
    listener.close()
    until(lambda: group().load().used == 0)
    client.close()


def test_a_client_that_is_dropped_leaves_nothing(half: Threads, running: Cluster) -> None:  # P4
    client = connect(half, running, max_size=6, min_size=3)
    client.mset_nonatomic({f"key{number}": number for number in range(20)})
    assert len(group().members) == 3
    del client

    def is_empty() -> bool:
        gc.collect()
        return not group().members and not group().load().held

    until(is_empty, "the members to leave")
    again = connect(half, running, max_size=6)
    assert again.get("key1") == b"1"
    again.close()


def test_two_clients_share_the_room(half: Threads, running: Cluster) -> None:  # P6
    one, other = connect(half, running, max_size=6), connect(half, running, max_size=6)
    for client in (one, other):
        client.mset_nonatomic({f"key{number}": number for number in range(20)})
    assert len(group().members) == 6
    assert group().load().held <= 6
    one.close()
    other.close()


def test_without_a_target_it_is_refused(half: Threads) -> None:
    with pytest.raises(exceptions.ConfigurationError, match="the pools of a cluster's nodes need one"):
        half.cluster("redis://localhost", "", {})


def test_without_a_url_a_client_of_threads_is_refused() -> None:  # redis-py would make pools of its own
    with pytest.raises(exceptions.ConfigurationError, match=r"use from_url\(\)"):
        ManagedRedisCluster(host="localhost", target=TARGET)


def test_a_node_that_is_away_is_gone_around_and_one_that_comes_back_is_used(half: Threads, cluster: Cluster) -> None:
    client = connect(half, cluster, max_size=6)
    keys = {f"key{number}": number for number in range(20)}
    client.mset_nonatomic(keys)
    gone = cluster.nodes[1]
    other = cluster.nodes[2]
    moved = cluster.move_slots(gone, other)
    assert moved
    gone.stop()
    # Its slots are another's: the client hears of it where it asks.
    client.mset_nonatomic(keys)
    assert all(client.get(key) is not None for key in keys)
    cluster.forget(gone)
    client.nodes_manager.initialize()

    def has_left() -> bool:
        gc.collect()
        return len(group().members) == 2

    until(has_left, "its pool to end")
    cluster.add(gone)
    client.nodes_manager.initialize()
    assert len(client.get_nodes()) == 3
    client.ping(target_nodes=RedisCluster.ALL_NODES)
    assert len(group().members) == 3
    assert group().problem == ""
    client.close()


def test_after_a_failover_the_new_master_serves(half: Threads, cluster: Cluster) -> None:  # P7
    crashed = cluster.nodes[1]
    replica = cluster.add_replica(crashed)
    client = connect(half, cluster, max_size=8, connection_timeout=10.0)
    keys = [f"key{number}" for number in range(30)]
    until(lambda: client.mset_nonatomic(dict.fromkeys(keys, 1)) is not None)
    theirs = [key for key in keys if client.get_node_from_key(key).port == crashed.port]
    assert theirs
    crashed.stop()

    def is_served() -> bool:
        try:
            return bool(client.set(theirs[0], 2))
        except redis.RedisError:  # until the others agree that it is gone
            return False

    began = monotonic()
    assert not is_served()
    # What is away is told at once, and not after a request's patience.
    assert monotonic() - began < 10.0
    until(is_served, "the replica to be master", timeout=30)
    assert client.get_node_from_key(theirs[0]).port == replica.port
    assert all(client.get(key) is not None for key in keys)
    assert group().load().held <= 8
    client.close()


def test_keys_on_their_way_to_another_node_are_found_by_many_at_once(half: Threads, cluster: Cluster) -> None:  # P3
    source, to = cluster.nodes[0], cluster.nodes[1]
    key = next(f"key{number}" for number in range(100) if key_slot(f"key{number}".encode()) < 5000)
    cluster.migrate(key_slot(key.encode()), source, to)
    client = connect(half, cluster, max_size=9)

    def add(number: int) -> None:
        for _ in range(20):
            client.incr(key)

    assert at_once(*(partial(add, number) for number in range(8))) == [None] * 8
    assert client.get(key) == b"160"
    client.close()


def test_slots_that_move_all_the_time_cost_no_connection_and_hardly_a_request(half: Threads, cluster: Cluster) -> None:
    """redis-py gives up a request that was sent elsewhere 16 times, as nodes do that have not heard of each other's move yet."""
    homes = cluster.nodes[:2]
    keys = [f"key{number}" for number in range(100) if key_slot(f"key{number}".encode()) < 5000][:20]
    ids = [str(cluster.admin(node).cluster("MYID")) for node in homes]
    client = connect(half, cluster, max_size=6)
    stop = threading.Event()
    given_up: list[str] = []

    def move() -> None:
        admins = [cluster.admin(node) for node in cluster.nodes]
        for turn in count():
            for slot in {key_slot(key.encode()) for key in keys}:
                # Whoever gets it is told first: else two send a request to each other until both know.
                for admin in sorted(admins, key=lambda each: each is not admins[turn % 2]):
                    admin.cluster("SETSLOT", slot, "NODE", ids[turn % 2])
            if stop.is_set():
                return

    def ask(number: int) -> None:
        for turn in range(150):
            try:
                client.get(keys[(number + turn) % len(keys)])
            except redis.exceptions.ClusterError as error:
                given_up.append(str(error))

    mover = threading.Thread(target=move)
    mover.start()
    try:
        assert at_once(*(partial(ask, number) for number in range(10))) == [None] * 10
    finally:
        stop.set()
        mover.join(20)
    assert {*given_up} <= {"TTL exhausted."}
    assert len(given_up) < 15
    assert group().load().used == 0
    assert group().load().held <= 6
    client.close()


def test_replicas_are_read_from_and_have_pools_of_the_same_target(half: Threads, cluster: Cluster) -> None:
    replica = cluster.add_replica(cluster.nodes[1])
    until(lambda: all(str(replica.port) in str(cluster.admin(node).cluster("SLOTS")) for node in cluster.nodes))
    client = half.cluster(
        cluster.url,
        TARGET,
        {"min_size": 0, "max_size": 8},
        load_balancing_strategy=LoadBalancingStrategy.ROUND_ROBIN,
    )
    keys = {f"key{number}": number for number in range(20)}
    client.mset_nonatomic(keys)
    for _ in range(3):
        until(lambda: all(client.get(key) is not None for key in keys), "the replica to have them")
    said = cluster.admin(replica).info("commandstats")
    # What each connection begins with is no borrower's, and stays.
    assert (said["cmdstat_readonly"]["calls"], group().snapshot().cleaned) == (1, 0)
    assert said["cmdstat_get"]["calls"] > 3
    assert len(group().members) == 4
    client.close()


def test_a_node_that_is_away_fails_at_once_and_with_its_own_error(half: Threads, running: Cluster) -> None:  # P8
    client = connect(half, running, max_size=6)
    node = client.get_nodes()[0]
    pool = half.pool_of(client, node)
    pool.connection_kwargs["port"] = 1
    pool.disconnect()
    with pytest.raises(redis.ConnectionError, match="nothing listens at the address") as caught:
        pool.get_connection()
    assert isinstance(caught.value.__cause__, exceptions.ServerDown)
    client.close()


@pytest.fixture
def declared(running: Cluster, settings: Any) -> Iterator[str]:
    each = {"KIND": "redis", "URL": running.url, "CLUSTER": True, "POOL": {"min_size": 0, "max_size": 6}}
    settings.POOLMGR = {**settings.POOLMGR, "TARGETS": {"sessions": each}}
    yield "sessions"
    settings.POOLMGR = {"AGENT": False}


def test_declared_cluster_has_one_client_and_a_health_check(
    half: Threads, declared: str, transactional_db: None
) -> None:
    pool = half.declared(declared)
    assert registry.get(declared) is None
    client = half.client_of(pool)
    assert half.client_of(half.declared(declared)) == client
    client.mset_nonatomic({f"key{number}": number for number in range(20)})
    assert check_target(declared).state == "ok"
    found = registry.get(declared)
    assert isinstance(found, Group)
    assert len(found.members) == 3


def test_forked_child_has_a_client_of_its_own(declared: str) -> None:  # P3
    client = poolmgr.pool(declared).client
    ids = {node.name: client.client_id(target_nodes=node) for node in client.get_nodes()}

    def child() -> list[bool]:
        mine = poolmgr.pool(declared).client
        own = {node.name: mine.client_id(target_nodes=node) for node in mine.get_nodes()}
        # The parent's may be used too; it connects anew.
        also = client.client_id(target_nodes=client.get_node(node_name=next(iter(ids))))
        return [mine is client, any(ids[name] == own[name] for name in ids), also in ids.values()]

    assert in_child(child) == [False, False, False]
    assert {node.name: client.client_id(target_nodes=node) for node in client.get_nodes()} == ids


def test_what_a_cluster_has_not_is_refused(declared: str, settings: Any, running: Cluster) -> None:
    results = Celery(
        "site", backend=f"poolmgr.targets.redis.celery.ResultBackend+target://{declared}", set_as_current=False
    )
    with pytest.raises(exceptions.ConfigurationError, match="a Redis Cluster, in which Celery keeps no results"):
        _ = results.backend
    each = {"KIND": "redis", "URL": f"{running.url}/3", "CLUSTER": True}
    settings.POOLMGR = {**settings.POOLMGR, "TARGETS": {"sessions": each}}
    for pool in (poolmgr.pool, poolmgr.aio.pool):
        with pytest.raises(exceptions.ConfigurationError, match="names another database than 0, or a socket"):
            pool(declared)
