"""Celery's results on a managed Redis pool, with real workers."""

import gc
import json
import os
import subprocess
import sys
import threading
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import celery
import pytest
import redis
from celery import chord, group

import poolmgr
from poolmgr.control.commanding import commands
from poolmgr.control.editing import profiles
from poolmgr.control.reporting.fleet import read_fleet
from poolmgr.exceptions import ConfigurationError
from poolmgr.models import PoolProfile
from poolmgr.pools import registry
from poolmgr.pools.desired import Desired
from poolmgr.targets.redis import listening
from poolmgr.targets.redis.kind import REDIS
from poolsite.demo.servers import EmbeddedRedis
from tests.brokers import close_broker_pools
from tests.forking import in_child
from tests.waiting import until

from .celery_work import TARGET, make_app, worker

DATABASE = 11
BROKER = 12


def declared(url: str) -> dict[str, Any]:
    return {TARGET: {"KIND": "redis", "URL": url, "POOL": {"min_size": 0, "max_size": 4}}}


def environment(poolmgr: dict[str, Any], broker: str, queue: str) -> dict[str, str]:
    """For a worker."""
    made = {"TEST_POOLMGR": json.dumps(poolmgr), "TEST_BROKER": broker, "TEST_QUEUE": queue}
    return {**os.environ, "DJANGO_SETTINGS_MODULE": "tests.kinds.celery_settings", **made}


class Site:
    """This process as one that sends tasks, and the environment of the workers that run them."""

    def __init__(self, settings: Any, broker: str, url: str, queue: str, **poolmgr: Any) -> None:
        self.queue = queue
        made = {"AGENT": False, "TARGETS": declared(url), **poolmgr}
        settings.POOLMGR = {**made, "AGENT": False}
        self.environment = environment(made, broker, queue)
        self.url = url
        self.app = make_app(broker, self.queue)
        self.tasks = self.app.tasks
        self.admin = redis.Redis.from_url(url.rpartition("/")[0] + "/0")

    @property
    def pool(self) -> Any:
        return poolmgr.pool(TARGET).managed

    def clients(self) -> list[Any]:
        found: Any = self.admin.client_list()
        return [each for each in found if each["db"] == self.url.rpartition("/")[2]]

    def change(self, **values: Any) -> None:
        spec = REDIS.make_spec({**self.pool.spec.to_dict(), **values})
        registry.set_desired({TARGET: Desired(spec, "profile 1", self.pool.desired.revision + 1)})

    def has_room(self) -> None:
        """Wait until what the tests before had is gone: beside that the pool may have room for one, and nobody listens."""
        until(lambda: self.pool.most > 1, "room for more than one connection")

    def close(self) -> None:
        self.app.close()
        close_broker_pools()
        self.admin.close()


@pytest.fixture
def make_site(settings: Any, redis_server: EmbeddedRedis) -> Iterator[Callable[..., Site]]:
    made: list[Site] = []

    def make(url: str = "", queue: str = "", **poolmgr: Any) -> Site:
        url, queue = url or redis_server.url(DATABASE), queue or f"q{uuid.uuid4().hex[:8]}"
        made.append(Site(settings, redis_server.url(BROKER), url, queue, **poolmgr))
        return made[-1]

    yield make
    # Results that are let go of later would ask a pool, or a server, that is no more.
    for each in list(listening._all):
        each.end()
    for site in made:
        site.close()
    settings.POOLMGR = {"AGENT": False}
    registry.set_desired({})


@pytest.fixture(scope="module")
def running(redis_server: EmbeddedRedis) -> Iterator[str]:
    """The queue of a worker of two threads."""
    queue = f"q{uuid.uuid4().hex[:8]}"
    poolmgr = {"AGENT": False, "TARGETS": declared(redis_server.url(DATABASE))}
    with worker(queue, environment(poolmgr, redis_server.url(BROKER), queue)):
        yield queue


@pytest.fixture
def site(make_site: Callable[..., Site], running: str) -> Site:
    """A site with such a worker."""
    return make_site(queue=running)


@pytest.mark.long
@pytest.mark.parametrize("pool", ["prefork", "threads"])
def test_results_chords_and_errors_come_back_over_one_pool_in_each_process(
    make_site: Callable[..., Site], pool: str
) -> None:  # P3
    site = make_site()
    tasks = site.tasks
    with worker(site.queue, site.environment, pool, 3):
        sent = [tasks["work.add"].delay(number, 1) for number in range(40)]
        assert [each.get(timeout=60) for each in sent] == [number + 1 for number in range(40)]
        header = [tasks["work.add"].s(number, 1) for number in range(10)]
        assert chord(header, app=site.app)(tasks["work.total"].s()).get(timeout=60) == 55
        assert group(header, app=site.app)().get(timeout=60) == list(range(1, 11))
        with pytest.raises(LookupError, match="on purpose"):
            tasks["work.fail"].delay().get(timeout=60)
        # Holders are called by the task that they run.
        hold = tasks["work.hold"].delay()
        assert f"work.hold[{hold.id}] in " in hold.get(timeout=60)[0]
        processes = 1 + (3 if pool == "prefork" else 1)
        assert len(site.clients()) <= processes * 4


def test_all_threads_of_a_process_share_the_pool_and_one_subscription(site: Site) -> None:  # P6
    together = threading.Barrier(12)

    def work(number: int) -> int:
        # The first use of all too, at which each may make what is to be shared.
        if number < 12:
            together.wait(20)
        return int(site.tasks["work.add"].delay(number, 1).get(timeout=60))

    with ThreadPoolExecutor(12) as threads:
        assert list(threads.map(work, range(60))) == list(range(1, 61))
    seen = site.pool.snapshot()
    assert seen.size <= 4
    assert (seen.timeouts, seen.checkout_errors) == (0, 0)
    assert [each.pinned for each in seen.holders].count("subscription") <= 1


def test_no_call_fails_while_the_pool_is_recycled_again_and_again(site: Site) -> None:
    replaced = 0

    def work(number: int) -> int:
        """How many results one thread has got, all of them right."""
        got = 0
        while replaced < 20:
            assert site.tasks["work.add"].delay(number, got).get(timeout=60) == number + got
            got += 1
        return got

    with ThreadPoolExecutor(4) as threads:
        works = [threads.submit(work, number) for number in range(4)]
        while replaced < 20 and not any(each.done() for each in works):
            round_ = site.pool.recycle(0.2)
            assert not round_.failed
            replaced += round_.replaced
        assert all(each.result(60) for each in works)


@pytest.mark.long
def test_a_recycle_replaces_the_connection_over_which_results_are_awaited(site: Site) -> None:
    with ThreadPoolExecutor(2) as threads:
        waits = [threads.submit(site.tasks["work.nap"].delay(seconds).get, timeout=60) for seconds in (2.5, 3)]

        def subscriptions() -> list[Any]:
            return [each for each in site.pool.snapshot().holders if each.pinned == "subscription"]

        [before] = until(subscriptions, "the subscription")
        done = site.pool.recycle(10)
        assert (done.remaining, done.failed) == (0, "")
        ends = {each.backend_pid for each in until(subscriptions, "another subscription")}
        assert ends.isdisjoint({before.backend_pid})
        assert not any(each.done() for each in waits)
        # What is awaited is heard of over the new one.
        assert all(each.result(60) for each in waits)


def test_who_waits_for_results_is_said_to_and_is_no_leak(site: Site) -> None:
    site.has_room()
    site.change(leak_threshold=0.2)
    waiting = site.tasks["work.nap"].delay(3)
    until(lambda: site.pool.snapshot().oldest_checkout > 2.2, "two rounds")
    seen = site.pool.snapshot()
    assert [(each.who, each.pinned) for each in seen.holders] == [("Celery, which waits for results", "subscription")]
    assert seen.leaks == 0
    assert waiting.get(timeout=60)


@pytest.mark.long
def test_a_connection_that_listens_comes_back_when_nothing_is_waited_for(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:  # P4
    monkeypatch.setattr(listening, "LINGER", 0.3)
    assert site.tasks["work.add"].delay(1, 2).get(timeout=60) == 3
    gc.collect()
    until(lambda: site.pool.snapshot().used == 0, "the subscription to end")
    # And the next one begins another.
    assert site.tasks["work.add"].delay(1, 3).get(timeout=60) == 4
    seen = site.pool.snapshot()
    assert seen.reclaimed == 0


@pytest.mark.long
def test_results_are_waited_for_with_a_single_connection(site: Site) -> None:  # P6, P8
    site.change(max_size=1)
    waiting = site.tasks["work.nap"].delay(1)
    with ThreadPoolExecutor(3) as threads:
        sums = threads.map(lambda n: site.tasks["work.add"].delay(n, n).get(timeout=60), range(9))
        assert list(sums) == [2 * n for n in range(9)]
    assert waiting.get(timeout=60)
    assert site.pool.snapshot().timeouts == 0
    # With room for another, it is listened again; and what was a subscription already when there is less is let go.
    site.change(max_size=2)
    waiting = site.tasks["work.nap"].delay(2)
    with ThreadPoolExecutor(1) as threads:
        result = threads.submit(waiting.get, timeout=60)
        until(lambda: [each.pinned for each in site.pool.snapshot().holders] == ["subscription"], "the subscription")
        site.change(max_size=1)
        assert site.tasks["work.add"].delay(1, 2).get(timeout=60) == 3
        assert result.result(60)
    assert site.pool.snapshot().timeouts == 0


def test_a_thread_that_ends_takes_nothing_from_others_that_wait(site: Site) -> None:  # P4
    sent: list[Any] = []

    def send() -> None:
        sent.append(site.tasks["work.nap"].delay(3))

    site.has_room()
    sender = threading.Thread(target=send)
    sender.start()
    sender.join(20)
    # Two rounds of the pool's, which would see that it has ended.
    until(lambda: site.pool.snapshot().oldest_checkout > 2.2, "two rounds")
    assert sent[0].get(timeout=60)
    assert site.pool.snapshot().reclaimed == 0


def test_a_pause_is_told_to_whoever_asks_and_outlasted_where_celery_tries_again(
    make_site: Callable[..., Site],
) -> None:  # P8, P9
    site = make_site()
    site.change(connection_timeout=0.5)
    site.pool.pause()
    with pytest.raises(redis.ConnectionError, match="paused"):
        site.app.AsyncResult(uuid.uuid4().hex).state  # noqa: B018
    resumer = threading.Timer(1.2, site.pool.resume)
    resumer.start()
    site.app.backend.always_retry = True  # result_backend_always_retry
    site.app.backend.store_result("kept", 7, "SUCCESS")
    resumer.join(20)
    assert site.app.AsyncResult("kept").get(timeout=10) == 7


@pytest.mark.long
def test_results_go_on_when_the_server_is_back(
    make_site: Callable[..., Site], make_redis: Callable[[], EmbeddedRedis]
) -> None:  # P7
    server = make_redis()
    site = make_site(server.url(1))
    with worker(site.queue, site.environment):
        assert site.tasks["work.add"].delay(1, 1).get(timeout=60) == 2
        napping = site.tasks["work.nap"].delay(1.5)
        before = site.pool.snapshot()
        server.restart()
        # Its result is stored once the server is back, and whoever waits for it hears of it.
        assert napping.get(timeout=60)
        assert site.tasks["work.add"].delay(1, 2).get(timeout=60) == 3
        assert site.pool.snapshot().created > before.created


def test_a_forked_child_hears_of_its_own_results_and_of_those_that_its_parent_began(site: Site) -> None:  # P3
    begun = site.tasks["work.nap"].delay(1)

    def child() -> list[Any]:
        own = site.tasks["work.add"].delay(5, 6).get(timeout=30)
        return [own, begun.get(timeout=30)]

    own, theirs = in_child(child)
    assert own == 11
    assert theirs == begun.get(timeout=60)
    assert site.pool.snapshot().reclaimed == 0


@pytest.mark.long
def test_a_process_that_ends_with_results_still_awaited_ends_at_once(make_site: Callable[..., Site]) -> None:  # P8
    site = make_site()
    program = """
import django; django.setup()
from tests.kinds.celery_worker import app
awaited = [app.tasks["work.add"].delay(1, 1) for _ in range(3)]
kept = app.backend, awaited
"""
    done = subprocess.run(
        [sys.executable, "-c", program], env=site.environment, capture_output=True, text=True, timeout=20
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.long
def test_a_worker_follows_the_profile_and_commands_and_shows_its_holders(
    transactional_db: None,
    make_site: Callable[..., Site],
    site_environment: dict[str, str],
    redis_server: EmbeddedRedis,
) -> None:  # P5
    site = make_site(
        AGENT=True, REDIS_URL=redis_server.url(), NAMESPACE=f"t{uuid.uuid4().hex[:8]}", HEARTBEAT_INTERVAL=0.3
    )
    site.environment["DATABASE_URL"] = site_environment["DATABASE_URL"]

    def shown() -> list[Any]:
        beats = [beat for beat in read_fleet().processes if beat.role == "worker"]
        return [pool for beat in beats for pool in beat.pools if pool.target == TARGET]

    with worker(site.queue, site.environment, "prefork", 1):
        assert site.tasks["work.add"].delay(1, 1).get(timeout=60) == 2
        until(shown, "the worker's report", 20)
        wanted = REDIS.make_spec({"max_size": 3, "min_size": 1})
        profiles.save_profile(PoolProfile(target=TARGET, **wanted.to_dict()), "operator")
        until(lambda: [each.max_size for each in shown()] == [3], "the profile to be followed")
        held = site.tasks["work.hold"].delay(2.0)
        until(
            lambda: any(f"[{held.id}]" in who.who for each in shown() for who in each.holders),
            "the holder to be shown",
        )
        generation = shown()[0].generation
        commands.send("recycle", TARGET, "operator")
        until(lambda: shown()[0].generation > generation, "the recycle")
        commands.send("pause", TARGET, "operator")
        until(lambda: shown()[0].status == "paused", "the pause")
        paused = site.tasks["work.add"].delay(2, 2)
        commands.send("resume", TARGET, "operator")
        assert paused.get(timeout=60) == 4
        assert held.get(timeout=60)


@pytest.mark.long
@pytest.mark.parametrize(
    ("backend", "told"),
    [
        (
            "",
            r"names no target, but must end in \+target:// and the name of a target of kind redis; there are: results",
        ),
        ("+redis://localhost/1", r"names 'redis://localhost/1', but must end in \+target://"),
        ("+target://", r"but must end in \+target:// and the name"),
        ("+target://nowhere", "names 'nowhere', which is no target of kind redis; there are: results"),
    ],
)
def test_a_backend_without_a_redis_target_is_refused(make_site: Callable[..., Site], backend: str, told: str) -> None:
    make_site()
    app = celery.Celery(backend=f"poolmgr.targets.redis.celery.ResultBackend{backend}", set_as_current=False)
    with pytest.raises(ConfigurationError, match=told):
        app.backend  # noqa: B018


@pytest.mark.long
def test_what_celery_says_of_connections_is_refused_where_the_target_says_it(make_site: Callable[..., Site]) -> None:
    site = make_site()
    site.app.conf.redis_max_connections = 7
    with pytest.raises(ConfigurationError, match=r"redis_max_connections is set, but results are kept on the pool"):
        site.app.backend  # noqa: B018


def test_a_banner_tells_target_and_address_and_no_password(make_site: Callable[..., Site]) -> None:  # P13
    site = make_site("redis://:planted@127.0.0.1:1/3")
    told = site.app.backend.as_uri()
    assert told == "results at 127.0.0.1:1/3"
    assert "planted" not in repr(vars(site.app.backend)) + site.app.backend.as_uri(include_password=True)


# -- a result that comes while nobody listens --------------------------------------------------------------------------


def awaited(site: Site, threads: ThreadPoolExecutor) -> tuple[str, Any]:
    """The id of a task that nobody runs, and what a thread that waits for it will say."""
    uid = uuid.uuid4().hex
    waiting = threads.submit(site.app.AsyncResult(uid).get, timeout=20)
    until(lambda: site.app.backend.result_consumer._socket_waiter, "somebody to listen")
    return uid, waiting


def test_a_result_that_comes_while_the_subscription_is_replaced_is_heard_of(  # P8
    make_site: Callable[..., Site], monkeypatch: pytest.MonkeyPatch
) -> None:
    site = make_site()
    backend = site.app.backend
    with ThreadPoolExecutor(1) as threads:
        uid, waiting = awaited(site, threads)
        look = backend.client.mget

        def look_a_moment_too_early(keys: Any) -> Any:
            monkeypatch.undo()
            found = look(keys)
            backend.store_result(uid, 7, "SUCCESS")
            return found

        monkeypatch.setattr(backend.client, "mget", look_a_moment_too_early)
        site.pool.recycle(10)
        assert waiting.result(30) == 7


def test_a_result_that_comes_before_a_broken_subscription_is_whole_is_heard_of(  # P7
    make_site: Callable[..., Site], monkeypatch: pytest.MonkeyPatch
) -> None:
    site = make_site()
    with ThreadPoolExecutor(1) as threads:
        uid, waiting = awaited(site, threads)
        backend = site.app.backend
        subscribe_anew = redis.client.PubSub.on_connect
        too_late = threading.Event()

        def a_moment_too_late(self: Any, connection: Any) -> None:
            monkeypatch.undo()
            backend.store_result(uid, 7, "SUCCESS")
            subscribe_anew(self, connection)
            too_late.set()

        def send() -> bool:
            backend.add_pending_result(site.app.AsyncResult(uuid.uuid4().hex))
            return too_late.is_set()

        monkeypatch.setattr(redis.client.PubSub, "on_connect", a_moment_too_late)
        # Whoever sends tasks finds that it is broken before they do who wait.
        with backend.result_consumer._pubsub_lock:
            site.admin.client_kill_filter(_type="pubsub")
            until(send, "the subscription to be broken")
        assert waiting.result(30) == 7


def test_a_result_is_heard_of_whatever_the_pool_s_size_was_when_the_wait_began(make_site: Callable[..., Site]) -> None:
    site = make_site()
    site.change(max_size=1)
    backend = site.app.backend
    first, second = (site.app.AsyncResult(uuid.uuid4().hex) for _ in range(2))
    backend.add_pending_result(first)
    site.change(max_size=4)
    backend.add_pending_result(second)
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(first.get, timeout=20)
        until(lambda: backend.result_consumer._socket_waiter, "somebody to listen")
        backend.store_result(first.id, 7, "SUCCESS")
        assert waiting.result(30) == 7


def test_who_lets_go_of_a_result_waits_for_no_server(  # P8
    make_site: Callable[..., Site], make_redis: Callable[[], EmbeddedRedis]
) -> None:
    server = make_redis()
    site = make_site(server.url(1))
    backend = site.app.backend
    results = [site.app.AsyncResult(uuid.uuid4().hex) for _ in range(3)]
    for each in results:
        backend.add_pending_result(each)
    url = server.url(1)
    server.stop()
    with ThreadPoolExecutor(1) as threads:
        # Of the first, the broken connection may take the word.
        for each in results[:2]:
            threads.submit(backend.remove_pending_result, each).result(3)
        server.restart()
        assert server.url(1) == url
        # Who waits then begins anew.
        waiting = threads.submit(results[2].get, timeout=20)
        until(lambda: backend.result_consumer._socket_waiter, "somebody to listen")
        backend.store_result(results[2].id, 7, "SUCCESS")
        assert waiting.result(30) == 7
