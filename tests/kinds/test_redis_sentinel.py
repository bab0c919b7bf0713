"""A Redis that Sentinel watches: after a failover nobody gets the old master."""

import os
import signal
import threading
from collections.abc import Iterator
from functools import partial
from time import monotonic
from typing import Any

import pytest
import redis
from django.core.cache import caches
from redis.asyncio.sentinel import Sentinel as AsyncSentinel
from redis.sentinel import Sentinel

from poolmgr import exceptions
from poolmgr.control.reporting.health import check_target
from poolmgr.pools import registry
from poolmgr.targets.known import address_of
from poolmgr.targets.redis.watched import Questions
from poolsite.demo.redis import EmbeddedRedis
from tests.forking import in_child
from tests.kinds.halves import Threads
from tests.redis_sentinel import SERVICE, Watched
from tests.sampling import first_always
from tests.threads import under_load
from tests.waiting import until

TARGET = "test:sentinel"


@pytest.fixture(autouse=True)
def closed(no_agent: None, settings: Any) -> Iterator[None]:
    yield
    settings.CACHES = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}
    registry.close(TARGET)


def raw_client_of(half: Threads, watched: Watched, service: str = SERVICE, **pool: Any) -> Any:
    """As redis-py makes it."""
    return watched.sentinel(half.sentinel).master_for(
        service,
        connection_pool_class=half.of_sentinel,
        target=TARGET,
        pool={"min_size": 0, "connection_timeout": 10.0, **pool},
    )


def client_of(half: Threads, watched: Watched, *args: Any, **pool: Any) -> Any:
    return half.here(raw_client_of(half, watched, *args, **pool))


def clients(watched: Watched, server: EmbeddedRedis) -> set[str]:
    """Who is connected to a server, but for other servers, Sentinels and whoever asks."""
    admin = watched.admin(server)
    me = str(admin.client_id())
    return {each["id"] for each in admin.client_list(_type="normal") if each["id"] != me and each["name"] == "ours"}


def _answers(client: Any) -> bool:
    try:
        return bool(client.ping())
    except redis.ConnectionError:
        return False


def name_of(client: Any) -> None:
    client.connection_pool.connection_kwargs["client_name"] = "ours"


def test_master_is_found_and_its_pool_is_a_target(half: Threads, watched: Watched) -> None:
    client = client_of(half, watched, max_size=3)
    assert client.set("key", 1)
    assert watched.admin(watched.master).get("key") == b"1"
    pool = registry.get(TARGET)
    assert pool is not None
    assert pool.snapshot().checkouts == 1
    until(lambda: pool.snapshot().address == f"{SERVICE} at 127.0.0.1:{watched.master.port}/0")
    assert pool.recycle(10).replaced == 1
    assert client.get("key") == b"1"


def test_replicas_are_a_target_of_their_own(half: Threads, watched: Watched) -> None:
    master = client_of(half, watched)
    replica = half.here(
        watched.sentinel(half.sentinel).slave_for(
            SERVICE, connection_pool_class=half.of_sentinel, target="test:replicas", pool={"min_size": 0}
        )
    )
    master.set("key", 1)
    until(lambda: replica.get("key") == b"1")
    assert replica.info("replication")["role"] == "slave"
    pool = registry.get("test:replicas")
    assert pool is not None
    assert pool.snapshot().address == f"replicas of {SERVICE}/0"
    registry.close("test:replicas")


@pytest.mark.long
@pytest.mark.parametrize("how", first_always("crashed", "ordered"))
def test_after_a_failover_no_call_gets_the_old_master(half: Threads, watched: Watched, how: str) -> None:  # P7
    client = client_of(half, watched, max_size=4)
    name_of(client)
    old, new = watched.master, watched.replica
    failed, answered = [], []

    def work(number: int) -> None:
        began = monotonic()
        try:
            # Which server it is, and whether it takes what is written.
            port = client.info("server")["tcp_port"]
            client.set(f"key{number}", 1)
        except redis.RedisError as ex:
            failed.append(ex)
        else:
            answered.append((began, port))

    with under_load(*(partial(work, number) for number in range(6))) as errors:
        until(lambda: len(answered) > 50)
        if how == "ordered":
            watched.fail_over()
        else:
            old.stop()
            until(lambda: watched.master is new, "the replica to be master", timeout=30)
        until(lambda: {port for _, port in answered[-12:]} == {new.port}, "calls to reach the new master", timeout=20)
        known, number = monotonic(), len(answered)
        until(lambda: len(answered) > number + 200)
    assert errors == []
    # Those that were under way may be told late.
    assert {port for began, port in answered if began > known} == {new.port}
    # Whoever was in the middle of something was told; nobody else.
    assert all(isinstance(ex, redis.ConnectionError) for ex in failed), failed
    assert len(failed) <= 2 * 6, failed
    assert len(clients(watched, new)) <= 4
    if how == "ordered":
        assert watched.admin(old).info("replication")["role"] == "master"
        until(lambda: not clients(watched, old), "the old connections to be gone", timeout=5)


@pytest.mark.long
def test_idle_connections_to_the_old_master_go_without_a_call(half: Threads, watched: Watched) -> None:  # P7
    client = client_of(half, watched, max_size=4)
    name_of(client)
    pool = client.connection_pool
    held = [pool.get_connection() for _ in range(3)]
    for each in held[1:]:
        pool.release(each)
    old = watched.master
    assert len(clients(watched, old)) == 3
    watched.fail_over()
    until(lambda: len(clients(watched, old)) <= 1, "the idle ones to go", timeout=5)
    # Nobody has told the old one yet, which would end its connections.
    assert watched.admin(old).info("replication")["role"] == "master"
    pool.release(held[0])
    until(lambda: not clients(watched, old), "the used one to go as it is returned", timeout=5)
    assert client.info("server")["tcp_port"] == watched.master.port


def test_answer_to_what_was_asked_before_a_change_was_heard_of_brings_nobody_back() -> None:  # P7
    questions, heard = Questions(), ["old"]

    def hear(number: int, named: str) -> str:
        return str(questions.hear(number, named, lambda: heard[-1], heard.append))

    slow, early, late, later = (questions.ask() for _ in range(4))
    # Who asked last may have been answered first, and who has the lowest number be told the latest.
    assert hear(later, "old") == "old"
    assert hear(slow, "new") == "new"
    assert [hear(early, "old"), hear(late, "old"), hear(later, "new")] == ["new"] * 3
    assert hear(questions.ask(), "newer") == "newer"
    assert heard == ["old", "new", "newer"]


def test_requests_wait_until_there_is_a_master_again(half: Threads, watched: Watched) -> None:
    client = client_of(half, watched, max_size=2)
    client.set("key", 1)
    old = watched.master
    old.stop()
    # Asked while nobody is master; answered by who becomes it.
    until(lambda: registry.get(TARGET).snapshot().idle == 0)  # type: ignore[union-attr]
    assert client.set("key", 2)
    assert watched.admin(watched.master).get("key") == b"2"


def test_without_a_master_the_error_says_so(half: Threads, watched: Watched) -> None:  # P9
    client = client_of(half, watched, "nothing", connection_timeout=0.5)
    with pytest.raises(exceptions.ServerDown, match="no Sentinel names a master") as caught:
        client.ping()
    assert isinstance(caught.value, redis.ConnectionError)
    assert watched.password not in repr(caught.value)


@pytest.mark.parametrize("how", ["url", "keyword"])
def test_what_sentinel_names_is_reached_over_tls_where_that_is_asked_for(half: Threads, how: str) -> None:
    manager, cls = half.sentinel([]), half.of_sentinel
    if how == "url":
        pool = cls.from_url("rediss://service/0", service_name="service", sentinel_manager=manager)
    else:
        pool = cls("service", manager, ssl=True)
    assert isinstance(pool.make_connection(), half.found_over_tls)


def test_client_of_the_other_half_is_refused(half: Threads) -> None:
    other = AsyncSentinel if half.sentinel is Sentinel else Sentinel
    with pytest.raises(exceptions.ConfigurationError, match=rf"must be a {half.sentinel.__module__}\.Sentinel"):
        other([]).master_for(SERVICE, connection_pool_class=half.of_sentinel)


def test_forked_child_finds_the_master_itself(watched: Watched) -> None:  # P3
    client = client_of(Threads(), watched, max_size=2)
    mine = client.client_id()

    def child() -> int:
        own: int = client.client_id()
        pool = client.connection_pool
        pool.proxy.master_address = None
        # The child's own thread asks who is master.
        until(lambda: pool.proxy.master_address is not None)
        return own

    assert in_child(child) != mine
    assert client.client_id() == mine


@pytest.mark.long
def test_sentinels_that_say_nothing_cost_nobody_more_than_their_patience(half: Threads, watched: Watched) -> None:  # P8
    client = client_of(half, watched, max_size=2, connection_timeout=1.0)
    mine = client.client_id()
    pool = client.connection_pool
    asking = half.asking(pool)
    os.kill(watched.sentinel_pid, signal.SIGSTOP)
    try:
        until(lambda: asking.is_under_way, "the silent Sentinel to be asked")
        assert client.client_id() == mine
        pool.disconnect()
        began = monotonic()
        with pytest.raises(exceptions.ServerDown):
            client.ping()
        assert monotonic() - began < 5
    finally:
        os.kill(watched.sentinel_pid, signal.SIGCONT)
    until(lambda: not asking.is_under_way, "the question to be over", timeout=30)
    until(lambda: _answers(client), "the master to be found")


def test_django_redis_finds_its_cache_by_sentinel(watched: Watched, settings: Any, transactional_db: None) -> None:
    settings.CACHES = {
        "default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"},
        "quick": {
            "BACKEND": "django_redis.cache.RedisCache",
            "LOCATION": f"redis://{SERVICE}/0",
            "OPTIONS": {
                "CONNECTION_FACTORY": "poolmgr.targets.redis.django_redis.SentinelConnectionFactory",
                "SENTINELS": [("127.0.0.1", watched.port)],
                "PASSWORD": watched.password,
                "POOL": {"min_size": 0, "connection_timeout": 10.0},
            },
        },
    }
    assert address_of("cache:quick") == f"{SERVICE}/0"
    caches["quick"].set("key", 1)
    pool = registry.get("cache:quick")
    assert pool is not None
    assert pool.snapshot().checkouts == 1
    check = check_target("cache:quick")
    assert (check.state, check.ours) == ("ok", 1), check.message
    watched.fail_over()

    def arrives() -> bool:
        caches["quick"].set("key", 2)
        return int(watched.admin(watched.master).get(":1:key")) == 2

    # Until Sentinel has been asked again, what is written may go to the old master.
    until(arrives)
    assert caches["quick"].get("key") == 2

    def use() -> None:
        used.append(caches["quick"].get("key"))

    used: list[Any] = []
    thread = threading.Thread(target=use)
    thread.start()
    thread.join()
    assert used == [2]
    assert [each.target for each in registry.pools() if each.kind == "redis"] == ["cache:quick"]
