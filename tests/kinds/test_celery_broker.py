"""Celery's connections to its broker: kombu's pool, shown and resized, and commands that make no sense for it."""

import json
import os
import signal
import subprocess
import sys
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from typing import Any

import kombu
import kombu.pools
import pytest
import redis
from celery import Celery
from celery.exceptions import OperationalError

import poolmgr
from poolmgr import exceptions
from poolmgr.conf import conf
from poolmgr.control.reporting.health import check_target
from poolmgr.exceptions import ConfigurationError, InvalidSpec
from poolmgr.pools import registry
from poolmgr.pools.desired import Desired
from poolmgr.pools.port import Recycled
from poolmgr.targets.known import address_of, bootstrap_spec, denied, kind_of, known_targets
from poolmgr.targets.kombu.joining import join
from poolmgr.targets.kombu.kind import KOMBU
from poolsite.demo.servers import EmbeddedRedis
from tests.brokers import close_broker_pools
from tests.forking import Child
from tests.kinds.subjects import in_thread
from tests.waiting import until

BROKER = 13
TARGET = "broker"
#: What the settings name; each test makes it anew.
app: Celery


class Sender:
    """A Celery application with a managed pool of 2 connections, and who sends with it."""

    def __init__(self, app: Celery) -> None:
        self.app = app
        self.queue = f"q{uuid.uuid4().hex[:8]}"

    @property
    def pool(self) -> Any:
        return poolmgr.pool(TARGET)

    def send(self) -> None:
        self.app.send_task("work.nobody", queue=self.queue)

    def change(self, **values: Any) -> Any:
        spec = KOMBU.make_spec({**self.pool.spec.to_dict(), **values})
        return registry.set_desired({TARGET: Desired(spec, "profile 1", self.pool.desired.revision + 1)})

    def sent(self) -> int:
        """How many messages the broker has for the queue."""
        with self.app.connection_for_read() as connection:
            return int(connection.default_channel._size(self.queue))


@pytest.fixture
def sender(settings: Any, redis_server: EmbeddedRedis) -> Iterator[Sender]:
    global app
    app = Celery("broker", broker=redis_server.url(BROKER), set_as_current=False)
    app.conf.update(task_ignore_result=True)
    declared = {"KIND": "kombu", "APP": f"{__name__}.app", "POOL": {"max_size": 2, "connection_timeout": 2}}
    settings.POOLMGR = {**settings.POOLMGR, "AGENT": False, "TARGETS": {TARGET: declared}}
    join()
    made = Sender(app)
    yield made
    registry.close(TARGET)
    close_broker_pools()
    app.close()
    settings.POOLMGR = {"AGENT": False}
    registry.set_desired({})


def at_once(number: int, what: Callable[[], Any]) -> list[Any]:
    """Results or errors of as many threads."""
    results: list[Any] = []

    def run() -> None:
        try:
            results.append(what())
        except Exception as ex:
            results.append(ex)

    threads = [threading.Thread(target=run) for _ in range(number)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    return results


def test_a_declared_broker_is_a_target_of_its_own_kind(sender: Sender, redis_server: EmbeddedRedis) -> None:  # P13
    assert TARGET in known_targets()
    assert kind_of(TARGET) is KOMBU
    assert bootstrap_spec(TARGET) == KOMBU.make_spec({"max_size": 2, "connection_timeout": 2})
    assert address_of(TARGET) == f"{__name__}.app"
    assert sender.pool.address == f"redis://127.0.0.1:{redis_server.port}/{BROKER}"


def test_the_first_task_that_is_sent_shows_the_pool(sender: Sender) -> None:
    assert registry.get(TARGET) is None
    sender.send()
    pool = registry.get(TARGET)
    assert pool is not None
    sender.send()
    seen = pool.snapshot()
    assert (seen.kind, seen.max_size, seen.limit, seen.status) == ("kombu", 2, 2, "open")
    assert (seen.used, seen.idle, seen.pending, seen.checkouts) == (0, 1, 0, 1)
    assert sender.sent() == 2


def test_never_more_than_max_size_connections_however_many_send(sender: Sender) -> None:
    sender.send()
    most = []
    assert at_once(12, lambda: [(sender.send(), most.append(sender.pool.load().held)) for _ in range(10)] and None) == (
        [None] * 12
    )
    assert max(most) <= 2
    assert sender.sent() == 121
    seen = sender.pool.snapshot()
    assert (seen.used, seen.pending, seen.timeouts, seen.checkouts) == (0, 0, 0, 120)


def test_whoever_waits_for_longer_than_the_profile_says_gets_a_sentence(sender: Sender) -> None:  # P8, P9
    sender.send()
    sender.change(connection_timeout=0.3)
    with ExitStack() as stack:
        for _ in range(2):
            stack.enter_context(sender.app.pool.acquire(block=True))
        with pytest.raises(kombu.exceptions.ConnectionLimitExceeded, match=r"within 0\.3 s: pool exhausted") as caught:
            sender.app.pool.acquire(block=True)
        assert isinstance(caught.value, exceptions.PoolExhausted)
        assert "held longest by MainThread" in str(caught.value)
        # As Celery tells it to who sends.
        with pytest.raises((OperationalError, kombu.exceptions.LimitExceeded)) as told:
            sender.send()
        assert isinstance(told.value.__cause__ or told.value, exceptions.PoolExhausted)
        with pytest.raises(kombu.exceptions.ConnectionLimitExceeded):
            sender.app.pool.acquire()
    assert sender.pool.snapshot().timeouts == 3
    sender.send()


def test_a_raise_serves_who_waits_and_a_lowering_closes_what_is_too_many(sender: Sender) -> None:  # P5
    sender.send()
    sender.change(connection_timeout=20)
    held = [sender.app.pool.acquire(block=True) for _ in range(2)]
    waiters: list[Any] = []
    threads = [threading.Thread(target=lambda: waiters.append(sender.app.pool.acquire(block=True))) for _ in range(3)]
    threads.append(threading.Thread(target=sender.send))
    for thread in threads:
        thread.start()
    until(lambda: sender.pool.snapshot().pending == 4, "four to wait")
    assert sender.change(max_size=6)[TARGET].reason == "resized in place: max_size 2 → 6"
    for thread in threads:
        thread.join(10)
    assert len(waiters) == 3
    for connection in [*held, *waiters]:
        connection.ensure_connection()
    assert sender.pool.snapshot().used == 5
    sender.change(max_size=1)
    assert sender.pool.snapshot().used == 5
    for connection in [*held, *waiters]:
        connection.release()
    seen = sender.pool.snapshot()
    assert (seen.used, seen.idle, seen.limit) == (0, 1, 1)
    until(lambda: sum(each.connected for each in [*held, *waiters]) == 1, "the others to be closed")
    sender.send()


def test_a_recycle_replaces_what_is_idle_now_and_what_is_used_as_it_returns(sender: Sender) -> None:
    sender.send()
    used = sender.app.pool.acquire(block=True)
    idle = sender.app.pool.acquire(block=True)
    for each in (used, idle):
        each.ensure_connection()
    idle.release()
    done = sender.pool.recycle(0.1)
    assert (done.replaced, done.remaining, done.failed) == (1, 1, "")
    until(lambda: not idle.connected, "the idle one to be closed")
    assert used.connected
    used.release()
    until(lambda: not used.connected, "the used one to be closed")
    sender.send()
    assert sender.pool.snapshot().idle == 1


def connections(redis_server: EmbeddedRedis) -> int:
    """How many the broker sees, but for a look's own."""
    with closing(redis.Redis.from_url(redis_server.url(0))) as onlooker:
        clients: Any = onlooker.client_list()
        return sum(each["db"] == str(BROKER) for each in clients)


def connect(sender: Sender, number: int) -> list[Any]:
    """As many that are idle and connected, each by one socket: none has sent anything."""
    assert sender.pool.opened
    made = [sender.app.pool.acquire(block=True).ensure_connection() for _ in range(number)]
    for each in made:
        each.release()
    return made


def test_one_connection_of_kombu_s_that_has_sent_is_two_to_a_redis(sender: Sender, redis_server: EmbeddedRedis) -> None:
    connect(sender, 1)
    assert connections(redis_server) == 1
    sender.send()
    assert (connections(redis_server), sender.pool.load().held) == (2, 1)
    assert sender.pool.recycle(5) == Recycled(1, 0)
    assert connections(redis_server) == 0


def test_a_recycle_counts_what_it_replaces_however_soon_that_is_closed(
    sender: Sender, monkeypatch: pytest.MonkeyPatch
) -> None:
    connect(sender, 2)
    monkeypatch.setattr(sender.pool.closers, "run", lambda close: close())
    assert sender.pool.recycle(5) == Recycled(2, 0)


# Who doesn't want to wait does so for what is about to be there: a recycle fails nobody.
@pytest.mark.parametrize("block", [True, False])
def test_a_connection_that_is_being_closed_keeps_its_place(
    sender: Sender, redis_server: EmbeddedRedis, block: bool
) -> None:  # P6
    sender.change(max_size=1, connection_timeout=10)
    connect(sender, 1)
    late, done, served = threading.Event(), [], []
    for _ in range(2):
        sender.pool.closers.run(lambda: late.wait(20))
    asking = [
        threading.Thread(target=lambda: done.append(sender.pool.recycle(20))),
        threading.Thread(target=lambda: served.append(sender.app.pool.acquire(block=block).ensure_connection())),
    ]
    asking[0].start()
    until(lambda: sender.pool.snapshot().closing == 1, "the recycle to begin")
    asking[1].start()
    until(lambda: sender.pool.snapshot().pending == 1, "the request to wait")
    assert (connections(redis_server), sender.pool.load(), served) == (1, (1, 0, 1), [])
    late.set()
    for thread in asking:
        thread.join(20)
    assert done == [Recycled(1, 0)]
    assert (connections(redis_server), len(served)) == (1, 1)


def test_a_broker_that_does_not_close_its_end_keeps_a_place_for_seconds_only(
    sender: Sender, make_redis: Callable[[], EmbeddedRedis]
) -> None:  # P8
    server = make_redis()
    sender.app.conf.broker_url = server.url(1)
    connect(sender, 2)
    with closing(redis.Redis.from_url(server.url())) as onlooker:
        info: Any = onlooker.info("server")
    os.kill(info["process_id"], signal.SIGSTOP)
    try:
        assert sender.pool.recycle(20) == Recycled(2, 0)
        seen = sender.pool.snapshot()
        assert (seen.left_behind, seen.closed, seen.size) == (2, 2, 0)
    finally:
        os.kill(info["process_id"], signal.SIGCONT)
    connect(sender, 2)


def test_a_close_that_hangs_keeps_a_place_for_seconds_only(sender: Sender) -> None:  # P8
    connect(sender, 2)
    sender.change(connection_timeout=0.4)
    late = threading.Event()
    for _ in range(2):
        sender.pool.closers.run(lambda: late.wait(20))
    assert sender.pool.recycle(20) == Recycled(2, 0)
    assert (sender.pool.snapshot().left_behind, sender.pool.load()) == (2, (0, 0, 0))
    connect(sender, 2)
    late.set()
    until(lambda: sender.pool.snapshot().closed == 2, "them to be closed after all")
    assert sender.pool.load() == (2, 0, 0)


@pytest.mark.long
def test_sending_goes_on_while_the_pool_is_recycled_and_resized(sender: Sender) -> None:
    sender.send()
    stopped = threading.Event()

    def stir() -> None:
        size = 0
        while not stopped.is_set():
            size = size % 4 + 1
            sender.change(max_size=size, connection_timeout=20)
            sender.pool.recycle(0.02)

    stirrer = threading.Thread(target=stir)
    stirrer.start()
    try:
        assert at_once(6, lambda: [sender.send() for _ in range(30)] and None) == [None] * 6
    finally:
        stopped.set()
        stirrer.join(20)
    assert sender.sent() == 181
    sender.change(max_size=3)
    seen = sender.pool.snapshot()
    assert (seen.used, seen.pending) == (0, 0)
    assert seen.idle <= 3


def test_a_connection_that_is_given_back_twice_has_one_next_borrower(sender: Sender) -> None:  # P3
    sender.send()
    connection = sender.app.pool.acquire(block=True)
    connection.release()
    connection.release()
    first, second = (sender.app.pool.acquire(block=True) for _ in range(2))
    assert first is not second
    first.release()
    second.release()


def test_a_producer_that_is_given_back_twice_has_one_next_borrower(sender: Sender) -> None:  # P3
    sender.send()
    producer = sender.app.producer_pool.acquire(block=True)
    producer.release()
    producer.release()
    first, second = (sender.app.producer_pool.acquire(block=True) for _ in range(2))
    assert first is not second
    assert first.connection is not second.connection
    in_thread(producer.release)
    assert sender.pool.snapshot().used == 2
    first.release()
    second.release()


def test_what_was_borrowed_before_the_pool_was_managed_comes_back_once(sender: Sender) -> None:  # P3
    before = [sender.app.pool.acquire(block=True).ensure_connection() for _ in range(2)]
    pool = sender.pool
    assert pool.snapshot().used == 2
    before[0].release()
    before[0].release()
    seen = pool.snapshot()
    assert (seen.used, seen.idle, seen.created) == (1, 1, 1)
    assert pool.recycle(0.1) == Recycled(1, 1)
    before[1].release()
    until(lambda: pool.snapshot().closed == 2, "both to be closed")
    assert pool.snapshot().used == 0
    sender.send()


def test_what_was_borrowed_of_a_pool_that_is_closed_comes_back_to_the_next(sender: Sender) -> None:  # P3, P6
    sender.send()
    held = sender.app.pool.acquire(block=True).ensure_connection()
    registry.close(TARGET)
    pool = sender.pool
    assert pool.snapshot().used == 1
    held.release()
    held.release()
    until(lambda: not held.connected, "what is of the closed pool to be closed")
    until(lambda: pool.load() == (0, 0, 0), "its place to be free")
    connect(sender, 2)
    assert pool.load() == (2, 0, 0)


def test_kombu_resizes_only_what_is_not_managed(sender: Sender, redis_server: EmbeddedRedis) -> None:  # P5
    sender.send()
    sender.change(max_size=3)
    held = [sender.app.pool.acquire(block=True) for _ in range(3)]
    other = Celery("other", broker=redis_server.url(BROKER - 1), set_as_current=False)
    other.conf.broker_pool_limit = 1
    assert other.pool.limit == 1
    assert (sender.app.pool.limit, sender.pool.load().used) == (3, 3)
    for each in held:
        each.release()
    assert (sender.app.pool.limit, sender.pool.load().used) == (3, 0)
    other.close()


def test_an_application_on_the_broker_of_another_is_no_target_beside_it(
    sender: Sender, settings: Any, redis_server: EmbeddedRedis
) -> None:
    sender.send()
    sender.change(max_size=3)
    declared = settings.POOLMGR["TARGETS"]
    settings.POOLMGR = {**settings.POOLMGR, "TARGETS": {**declared, "second": declared[TARGET]}}
    with pytest.raises(ConfigurationError, match="shares kombu's pool with that of 'broker': declare one of them"):
        poolmgr.pool("second")
    assert registry.get("second").problem  # type: ignore[union-attr]
    assert registry.get("second").recycle(1).failed  # type: ignore[union-attr]
    assert sender.pool.snapshot().limit == sender.app.pool.limit == 3
    sender.send()
    registry.close("second")


def test_a_reset_of_kombu_s_pools_takes_what_is_held(sender: Sender, caplog: pytest.LogCaptureFixture) -> None:
    sender.send()
    at_once(1, lambda: sender.app.pool.acquire(block=True).ensure_connection() and None)
    kombu.pools.reset()
    seen = sender.pool.snapshot()
    assert (seen.used, seen.idle, seen.holders, seen.closed) == (0, 0, (), seen.created)
    until(lambda: sender.pool.snapshot().used == 0)
    sender.app._after_fork()
    sender.send()


def test_what_a_thread_held_that_ended_comes_back(sender: Sender) -> None:  # P4
    sender.send()
    at_once(2, lambda: sender.app.pool.acquire(block=True) and None)
    assert sender.pool.snapshot().used == 2
    until(lambda: sender.pool.snapshot().used == 0, "both to come back", 6)
    assert sender.pool.snapshot().reclaimed == 2
    sender.send()


def test_who_holds_a_connection_too_long_is_told_once(sender: Sender, caplog: pytest.LogCaptureFixture) -> None:
    sender.send()
    sender.change(leak_threshold=0.2)
    with sender.app.pool.acquire(block=True):
        until(lambda: sender.pool.snapshot().leaks == 1, "the leak to be told", 6)
        assert sender.pool.snapshot().holders[0].thread == "MainThread"
        until(lambda: sender.pool.snapshot().oldest_checkout > 2.3, "two more rounds")
    assert sender.pool.snapshot().leaks == 1
    assert "MainThread has held a connection for" in caplog.text


def test_a_pool_that_kombu_makes_anew_follows_the_profile(sender: Sender) -> None:
    sender.send()
    sender.change(max_size=5)
    close_broker_pools()
    sender.send()
    assert sender.app.pool.limit == 5
    sender.send()
    seen = sender.pool.snapshot()
    assert (seen.max_size, seen.profile, seen.idle) == (5, "profile 1", 1)


def test_a_child_of_a_fork_has_a_pool_of_its_own(sender: Sender) -> None:  # P3
    sender.send()
    sender.change(max_size=4)
    inherited = sender.app.pool

    def act() -> list[Any]:
        before = registry.get(TARGET), sender.app.pool is inherited
        for _ in range(100):
            sender.send()
        seen = registry.get(TARGET).snapshot()  # type: ignore[union-attr]
        return [*before, seen.max_size, seen.checkouts]

    child = Child(act)
    # Both at once, so that a socket that they shared would mix what they say.
    for _ in range(100):
        sender.send()
    assert child.answer() == [None, False, 4, 99]
    assert sender.sent() == 201
    assert sender.app.pool is inherited
    assert sender.pool.snapshot().status == "open"


@pytest.mark.long
def test_sending_goes_on_when_the_broker_is_back(sender: Sender, make_redis: Callable[[], EmbeddedRedis]) -> None:  # P7
    server = make_redis()
    sender.app.conf.broker_url = server.url(1)
    sender.app.conf.task_publish_retry = False
    sender.send()
    sender.change(connection_timeout=20)
    server.stop()
    told = at_once(4, sender.send)
    assert [isinstance(each, kombu.exceptions.OperationalError) for each in told] == [True] * 4
    assert sender.pool.snapshot().used == 0
    server.restart()
    sender.send()
    assert sender.sent() == 1


def test_the_broker_is_checked_by_a_connect(
    sender: Sender, transactional_db: None, make_redis: Callable[[], EmbeddedRedis]
) -> None:
    check = check_target(TARGET)
    assert (check.state, check.message) == ("ok", "The server answers."), check.message
    assert check.connect_time is not None
    server = make_redis()
    sender.app.conf.broker_url = server.url(1)
    assert check_target(TARGET).state == "ok"
    server.stop()
    check = check_target(TARGET)
    assert check.state == "critical"
    assert check.message == f"Nothing listens at the address: redis://127.0.0.1:{server.port}/1."


def test_other_brokers_than_redis_are_shown_too(sender: Sender, transactional_db: None) -> None:
    sender.app.conf.broker_url = "memory://"
    sender.send()
    sender.send()
    seen = sender.pool.snapshot()
    assert (seen.checkouts, seen.idle, seen.address) == (1, 1, "memory://localhost")
    assert check_target(TARGET).state == "ok"


def test_a_pause_makes_no_sense_and_says_so(sender: Sender) -> None:
    sender.send()
    told = "Whoever sends a task would fail: a broker that is paused is an outage. Lower max_size instead."
    assert denied("pause", TARGET) == told
    assert denied("recycle", TARGET) == ""
    for command in (sender.pool.pause, sender.pool.resume):
        with pytest.raises(ConfigurationError, match="a broker that is paused is an outage"):
            command()
    sender.send()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("min_size", 1),
        ("budget", 5),
        ("max_waiting", 3),
        ("idle_timeout", 5.0),
        ("max_lifetime", 5.0),
        ("validation", "query"),
    ],
)
def test_a_word_that_is_refused_is_told_with_its_sentence(name: str, value: Any) -> None:
    with pytest.raises(InvalidSpec) as caught:
        KOMBU.make_spec({name: value, "max_size": 10})
    assert caught.value.errors[name].startswith(KOMBU.refuses[name])


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"APP": "no path at all"}, r"\['APP'\] is a value that is not shown, but must be the dotted path of a Celery"),
        ({}, r"\['APP'\] is missing, but must be the dotted path of a Celery application"),
        ({"APP": "nowhere.app"}, r"\['APP'\] is 'nowhere.app', which can't be imported: No module named 'nowhere'"),
        ({"APP": "os.path"}, r"\['APP'\] is 'os.path', but must be the path of a Celery application"),
        (
            {"APP": "os.path", "URL": "redis://localhost"},
            r"unknown key 'URL'; a target of kind kombu has KIND, POOL, APP",
        ),
    ],
)
def test_a_declaration_without_an_application_is_told(settings: Any, given: dict[str, str], told: str) -> None:
    settings.POOLMGR = {"AGENT": False, "TARGETS": {TARGET: {"KIND": "kombu", **given}}}
    with pytest.raises(ConfigurationError, match=told):
        poolmgr.pool(TARGET)
    assert conf().TARGETS[TARGET].kind == "kombu"


def test_a_message_goes_out_although_its_pool_can_t_be_managed(
    sender: Sender, settings: Any, caplog: pytest.LogCaptureFixture
) -> None:
    settings.POOLMGR = {"AGENT": False, "TARGETS": {TARGET: {"KIND": "kombu", "APP": "nowhere.app"}}}
    sender.send()
    sender.send()
    assert sender.sent() == 2
    assert caplog.text.count("the pool of 'broker' is not managed") == 1


@pytest.mark.long
def test_a_site_without_celery_can_show_a_broker() -> None:  # P11
    program = """
import sys
sys.modules["celery"] = sys.modules["kombu"] = None
from django.conf import settings
settings.configure(
    INSTALLED_APPS=["poolmgr"], DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
    POOLMGR={"AGENT": False, "TARGETS": {"broker": {"KIND": "kombu", "APP": "shop.celery.app"}}},
)
import django; django.setup()
import json
from poolmgr.targets.known import address_of, bootstrap_spec
print(json.dumps([address_of("broker"), bootstrap_spec("broker").max_size]))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == ["shop.celery.app", 10]
