"""What all processes have counted, by target and role: added once whatever is retried, and kept when a process ends."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis
from django.db import connection, connections

from poolmgr.control import pruning
from poolmgr.control.store import StoreDown, get_store
from poolmgr.control.store.base import FleetStore
from poolmgr.control.store.redis import RedisStore
from poolmgr.control.tally import Tally
from poolmgr.metrics.totals import Gain
from poolmgr.models import Summed, Told
from poolmgr.pools import registry
from poolmgr.pools.port import Pool
from poolsite.demo.servers import EmbeddedPostgres, EmbeddedRedis
from tests.proxy import Proxy

from .console import own_pool
from .control_fleet import TestFleet, wait_for


@pytest.fixture(params=["redis", "database"])
def store(request: pytest.FixtureRequest, transactional_db: None, settings: Any) -> Iterator[FleetStore]:
    settings.POOLMGR = {"NAMESPACE": f"t{uuid.uuid4().hex[:8]}", "PROCESS_TTL": 1, "HEARTBEAT_INTERVAL": 0.3}
    if request.param == "redis":
        settings.POOLMGR = {**settings.POOLMGR, "REDIS_URL": request.getfixturevalue("redis_server").url()}
    made = get_store()
    yield made
    made.close()


def gain(number: int, role: str = "web", **sums: int) -> Gain:
    return Gain(number, role, {"default": sums})


def checkouts(store: FleetStore) -> dict[tuple[str, str], int]:
    return {(each.target, each.role): each.count("checkouts") for each in store.totals()}


def test_gains_are_summed_by_target_and_role(store: FleetStore) -> None:
    store.count(
        "a", Gain(1, "web", {"default": {"checkouts": 2, "wait_time:us": 70}, "cache:default": {"checkouts": 1}})
    )
    store.count("b", Gain(1, "web", {"default": {"checkouts": 3, "pins:SET": 1}}))
    store.count("c", Gain(1, "worker", {"default": {"checkouts": 5}}))
    found = {(each.target, each.role): dict(each.sums) for each in store.totals()}
    assert found == {
        ("default", "web"): {"checkouts": 5, "wait_time:us": 70, "pins:SET": 1},
        ("default", "worker"): {"checkouts": 5},
        ("cache:default", "web"): {"checkouts": 1},
    }


def test_what_is_told_twice_or_late_is_added_once(store: FleetStore) -> None:
    store.count("a", gain(1, checkouts=2))
    store.count("a", gain(1, checkouts=2))
    store.count("a", gain(2, checkouts=3))
    store.count("a", gain(1, checkouts=2))
    assert checkouts(store) == {("default", "web"): 5}
    store.count("b", gain(1, checkouts=7))
    store.forget("a")
    store.count("a", gain(2, checkouts=3))
    assert checkouts(store) == {("default", "web"): 12}


def test_many_at_once_lose_nothing(store: FleetStore) -> None:
    ready, failed = threading.Barrier(6), []

    def tell(uid: str) -> None:
        try:
            ready.wait(10)
            for number in range(1, 11):
                sums = {target: {"checkouts": 1} for target in (("x", "y") if number % 2 else ("y", "x"))}
                store.count(uid, Gain(number, "web", sums))
                store.count(uid, Gain(number, "web", sums))
        except Exception as error:
            failed.append(error)
        finally:
            connections.close_all()

    threads = [threading.Thread(target=tell, args=(f"p{number}",)) for number in range(6)]
    for each in threads:
        each.start()
    for each in threads:
        each.join(60)
    assert not failed
    assert checkouts(store) == {("x", "web"): 60, ("y", "web"): 60}


def test_what_somebody_else_put_there_gives_way_and_is_not_believed(store: FleetStore, settings: Any) -> None:
    store.count("a", gain(1, checkouts=2, created=1))
    spoil(store, settings.POOLMGR)
    assert [dict(each.sums) for each in store.totals() if each.target == "default"] == [{"created": 1}]
    store.count("a", gain(2, checkouts=3))
    assert checkouts(store) == {("default", "web"): 3}


def spoil(store: FleetStore, options: dict[str, Any]) -> None:
    if store.name == "database":
        Summed.objects.update(sums={"checkouts": "many", "created": 1, "secret": 5})
        Summed.objects.create(target="nobody's", role="king", at="2026-01-01T00:00Z", sums=[])
        return
    client, prefix = redis.Redis.from_url(options["REDIS_URL"]), "{" + options["NAMESPACE"] + "}:"
    key = prefix + 'total:["default", "web"]'
    client.hset(key, mapping={"checkouts": "many", "x" * 5000: "1", "timeouts": "9" * 5000})
    client.delete(prefix + "told:a")
    client.lpush(prefix + "told:a", "no number")
    client.sadd(prefix + "totals", "no JSON", "[1]", '["default", "king"]', '["other", "web"]', "[" * 50_000)
    client.set(prefix + 'total:["other", "web"]', "no hash")
    client.close()


def test_a_gain_whose_answer_was_lost_is_told_again_and_counts_once(
    transactional_db: None, redis_server: EmbeddedRedis, settings: Any
) -> None:
    settings.POOLMGR = {"NAMESPACE": f"t{uuid.uuid4().hex[:8]}"}
    direct = RedisStore(redis_server.url())
    tally, pool = Tally(), own_pool()
    connection.close()

    def tell(store: FleetStore, pools: tuple[Pool, ...] = (pool,)) -> None:
        tally.tell(store, "a", "web", {each: each.snapshot() for each in pools})

    proxy = Proxy(redis_server.port)
    cut = RedisStore(redis_server.url().replace(str(redis_server.port), str(proxy.port)))
    try:
        tell(cut)
        before = checkouts(direct)["default", "web"]
        use(pool, 3)
        proxy.mute = True
        with pytest.raises(StoreDown, match="does not answer"):
            tell(cut)
        wait_for(lambda: checkouts(direct) == {("default", "web"): before + 3})
        # Others come meanwhile, and whether the first were added is in doubt.
        use(pool, 2)
        proxy.close()
        with pytest.raises(StoreDown):
            tell(cut)
    finally:
        cut.close()
        proxy.close()
    tell(direct)
    assert checkouts(direct) == {("default", "web"): before + 3}
    tell(direct)
    assert checkouts(direct) == {("default", "web"): before + 5}
    tell(direct)
    assert checkouts(direct) == {("default", "web"): before + 5}
    direct.close()


def test_a_pool_that_was_closed_is_counted_to_its_end_and_the_next_one_from_its_beginning(store: FleetStore) -> None:
    tally, pool = Tally(), own_pool()
    connection.close()

    def tell() -> dict[tuple[str, str], int]:
        tally.tell(store, "a", "web", {each: each.snapshot() for each in registry.pools()})
        return checkouts(store)

    before = tell()["default", "web"]
    use(pool, 3)
    registry.close("default")
    use(following := own_pool(), 2)
    assert following is not pool
    connection.close()
    assert tell()["default", "web"] >= before + 3 + 2


@pytest.fixture
def fleet(
    transactional_db: None, postgres: EmbeddedPostgres, redis_server: EmbeddedRedis, settings: Any
) -> Iterator[Callable[[bool], TestFleet]]:
    made: list[TestFleet] = []

    def make(with_redis: bool) -> TestFleet:
        options: dict[str, Any] = {"NAMESPACE": f"t{uuid.uuid4().hex[:8]}", "PROCESS_TTL": 1}
        options |= {"POLL_INTERVAL": 0.2, "HEARTBEAT_INTERVAL": 0.1}
        if with_redis:
            options["REDIS_URL"] = redis_server.url()
        settings.POOLMGR = {**options, "AGENT": False}
        made.append(TestFleet(postgres, options))
        return made[-1]

    yield make
    for each in made:
        each.stop()


@pytest.mark.long
@pytest.mark.parametrize("with_redis", [True, pytest.param(False, marks=pytest.mark.long)])
def test_the_totals_stay_when_a_process_is_killed(fleet: Callable[[bool], TestFleet], with_redis: bool) -> None:
    (killed, ended) = fleet(with_redis).start(2)
    store = get_store()

    def counted() -> int:
        return sum(each.count("checkouts") for each in store.totals())

    wait_for(lambda: counted() > 50 and len(store.processes()) == 2, 20)
    killed.kill()
    at_death = counted()
    wait_for(lambda: len(store.processes()) == 1)
    assert counted() >= at_death
    # Whoever ends in good order tells all that it did.
    before = counted()
    last = ended.end()
    assert last["failed"] == []
    assert counted() >= max(before, last["worked"])
    assert store.processes() == ()
    store.close()


def test_what_is_gained_while_redis_is_away_is_added_when_it_is_back_and_after_a_loss_all_begins_at_zero(  # P11
    transactional_db: None, redis_server: EmbeddedRedis, settings: Any
) -> None:
    settings.POOLMGR = {"NAMESPACE": f"t{uuid.uuid4().hex[:8]}"}
    proxy, tally, pool = Proxy(redis_server.port), Tally(), own_pool()
    store = RedisStore(redis_server.url().replace(str(redis_server.port), str(proxy.port)))
    connection.close()

    def tell() -> int:
        tally.tell(store, "a", "web", {pool: pool.snapshot()})
        return checkouts(store)["default", "web"]

    try:
        before = tell()
        proxy.refuse()
        proxy.reset()
        for _ in range(2):
            use(pool, 3)
            with pytest.raises(StoreDown):
                tell()
        proxy.accept()
        assert (tell(), tell()) == (before + 3, before + 6)
        with redis.Redis.from_url(redis_server.url()) as client:
            client.delete(*client.keys("{" + settings.POOLMGR["NAMESPACE"] + "}:*"))
            client.script_flush()
        use(pool, 1)
        assert tell() == 1
    finally:
        store.close()
        proxy.close()


def test_old_rows_are_pruned(transactional_db: None, settings: Any) -> None:
    settings.POOLMGR = {"NAMESPACE": f"t{uuid.uuid4().hex[:8]}"}
    store = get_store()
    store.count("a", gain(1, checkouts=2))
    pruning.prune()
    assert checkouts(store) == {("default", "web"): 2}
    assert Told.objects.count() == 1
    Told.objects.update(at="2020-01-01T00:00Z")
    Summed.objects.update(at="2020-01-01T00:00Z")
    pruning.prune()
    assert (store.totals(), Told.objects.count()) == ((), 0)


def use(pool: Any, times: int) -> None:
    for _ in range(times):
        with pool.connection():
            pass
