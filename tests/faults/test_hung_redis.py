"""A Redis that accepts and never answers costs a page, a save or a task one deadline, not one for each question."""

from __future__ import annotations

import os
import signal
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis as client_library
from django.core.cache import caches
from django.test import Client
from msgspec.structs import replace

from poolmgr import tasks
from poolmgr.control.access import control_database
from poolmgr.control.commanding import commands
from poolmgr.control.editing.profiles import save_profile
from poolmgr.control.reporting.beats import read_beats
from poolmgr.control.reporting.fleet import read_fleet
from poolmgr.control.reporting.report import make_report
from poolmgr.control.store import get_store
from poolmgr.control.store.database import DatabaseStore
from poolmgr.models import Command, PoolProfile, ProfileRevision
from poolmgr.pools import registry
from poolmgr.pools.lane import console_lane
from poolsite.demo.servers import EmbeddedRedis
from tests.agents import without_agent
from tests.integration.console import beat, person, signed_in
from tests.integration.sampled import begin_anew, raw, take
from tests.waiting import until

pytestmark = [pytest.mark.faults]

#: Seconds: more than the one deadline, which is a second, and less than two.
ONCE = 1.8
#: Half of what asking a silent Redis each time would take, for each time.
SPARED = 0.2


@pytest.fixture
def redis(transactional_db: None, settings: Any, make_redis: Callable[[], EmbeddedRedis]) -> Iterator[EmbeddedRedis]:
    server = make_redis()
    # The site's cache and broker are another Redis, which is well.
    settings.POOLMGR = {"REDIS_URL": server.url(), "NAMESPACE": f"t{uuid.uuid4().hex[:8]}", "AGENT": False}
    without_agent()
    yield server
    os.kill(server.pid, signal.SIGCONT)
    get_store().close()


@pytest.fixture
def client(redis: EmbeddedRedis) -> Client:
    return signed_in(person("operator", superuser=True))


@pytest.fixture
def profile(redis: EmbeddedRedis) -> PoolProfile:
    made = PoolProfile(target="default", max_size=5)
    save_profile(made, "operator")
    return made


def get_client(server: EmbeddedRedis) -> Any:
    return client_library.Redis.from_url(server.url())


def took(work: Callable[[], Any]) -> float:
    began = time.monotonic()
    work()
    return time.monotonic() - began


def cost_of_silence(redis: EmbeddedRedis, work: Callable[[], Any]) -> float:
    """How many seconds longer ``work`` takes while Redis is frozen: the least of a few tries.

    Whatever else the machine does makes work longer: who waits twice takes two deadlines at each try.
    """
    costs: list[float] = []
    while not costs or (costs[-1] >= ONCE and len(costs) < 4):
        well = min(took(work), took(work))
        os.kill(redis.pid, signal.SIGSTOP)
        try:
            costs.append(took(work) - well)
        finally:
            os.kill(redis.pid, signal.SIGCONT)
    return min(costs)


PAGES = (
    "/pools/", "/pools/fragment/", "/pools/api/v1/status", "/pools/metrics", "/pools/confirm/?kind=recycle&target=default",
    "/admin/poolmgr/poolprofile/", "/admin/poolmgr/poolprofile/add/",
)  # fmt: skip


@pytest.mark.parametrize("page", PAGES)
def test_a_page_waits_once(page: str, redis: EmbeddedRedis, client: Client) -> None:  # P8, P10
    beat()
    assert client.get(page).status_code == 200
    assert 0.4 < cost_of_silence(redis, lambda: client.get(page)) < ONCE or page.endswith("/add/")


@pytest.fixture
def visitor(redis: EmbeddedRedis, settings: Any) -> Iterator[Client]:
    """An operator whose session is in it too, as the cache that it is read from and written to for a page."""
    settings.SESSION_ENGINE = "django.contrib.sessions.backends.cached_db"
    before = settings.CACHES
    settings.CACHES = {
        "default": {
            "BACKEND": "django_redis.cache.RedisCache",
            "LOCATION": redis.url(1),
            "OPTIONS": {
                "CONNECTION_FACTORY": "poolmgr.targets.redis.django_redis.ConnectionFactory",
                "IGNORE_EXCEPTIONS": True,
                "SOCKET_TIMEOUT": 1,
                "POOL": {"connection_timeout": 1, "min_size": 0},
            },
        }
    }
    yield signed_in(person("operator", superuser=True))
    os.kill(redis.pid, signal.SIGCONT)
    settings.CACHES = before


@pytest.mark.long
def test_a_page_whose_sessions_are_in_it_says_nothing_untrue_of_the_database(
    redis: EmbeddedRedis, visitor: Client, monkeypatch: pytest.MonkeyPatch
) -> None:  # P10
    beat()
    assert visitor.get("/pools/").status_code == 200
    # The cache is waited for longer than a page waits for its databases.
    monkeypatch.setattr("poolmgr.dashboard.entry.access._PATIENCE", 1.0)
    os.kill(redis.pid, signal.SIGSTOP)
    answer = visitor.get("/pools/")
    assert answer.status_code == 200
    page = answer.content.decode()
    assert "does not answer: heartbeats go through the control database" in page
    assert "The control database" not in page


@pytest.mark.long
def test_a_page_does_not_wait_for_a_cache_that_the_site_knows_to_be_away(
    redis: EmbeddedRedis, visitor: Client
) -> None:  # P8 P10
    beat()
    assert visitor.get("/pools/").status_code == 200
    os.kill(redis.pid, signal.SIGSTOP)
    until(lambda: took(lambda: caches["default"].get("key")) < 0.2, "the pool to know", 20)
    # For the fleet alone.
    assert min(took(lambda: visitor.get("/pools/")) for _ in range(3)) < ONCE


def test_a_piece_of_work_waits_once_for_a_cache_without_a_pool(redis: EmbeddedRedis, visitor: Client) -> None:  # P8
    registry.close("cache:default")
    os.kill(redis.pid, signal.SIGSTOP)
    for _ in range(2):
        with console_lane():
            assert took(lambda: caches["default"].get("key")) > 0.8
            assert took(lambda: [caches["default"].get("key") for _ in range(5)]) < 10 * SPARED


def test_a_save_waits_once_and_says_nothing_wrong(
    redis: EmbeddedRedis, client: Client, profile: PoolProfile
) -> None:  # P8, P10
    beat()
    page = f"/admin/poolmgr/poolprofile/{profile.pk}/change/"
    assert cost_of_silence(redis, lambda: client.get(page)) < ONCE
    values = {name: str(value) for name, value in profile.values().items()} | {"enabled": "on"}
    sizes = iter(range(6, 30))
    answers = []

    def save() -> None:
        # Each is a change: what is saved is told to the fleet, and the room for it looked up.
        answers.append(client.post(page, values | {"max_size": str(next(sizes))}).status_code)

    assert cost_of_silence(redis, save) < ONCE
    assert set(answers) == {302}
    profile.refresh_from_db()
    assert (profile.max_size, profile.revision) == (5 + len(answers), 1 + len(answers))
    assert ProfileRevision.objects.count() == 1 + len(answers)


def test_a_command_waits_once(redis: EmbeddedRedis, client: Client) -> None:  # P8, P10
    beat()
    order = {"kind": "resume", "target": "default"}
    answers = []
    assert cost_of_silence(redis, lambda: answers.append(client.post("/pools/command/", order))) < ONCE
    assert Command.objects.count() == len(answers)


@pytest.mark.long
@pytest.mark.parametrize("task", ["tick", "check_target", "check_targets", "sweep"])
def test_a_task_waits_once(task: str, redis: EmbeddedRedis) -> None:  # P8
    beat()
    work = getattr(tasks, task)
    assert cost_of_silence(redis, (lambda: work("default")) if task == "check_target" else work) < ONCE


def test_samples_wait_once(redis: EmbeddedRedis) -> None:  # P8
    beat()
    assert cost_of_silence(redis, take) < ONCE


def test_a_sample_is_of_everybody_whichever_store_they_beat_in(redis: EmbeddedRedis) -> None:
    now, rows = time.time(), DatabaseStore()
    begin_anew()
    one, other = beat(uid="one"), beat(uid="other")
    os.kill(redis.pid, signal.SIGSTOP)
    # The other has not found out yet.
    rows.beat(replace(one, store_lost=now))
    assert take() == 0
    for each in (one, other):
        rows.beat(replace(each, store_lost=now - 60))
    assert take() == 1
    assert [row.processes for row in raw()] == [2]
    begin_anew()
    os.kill(redis.pid, signal.SIGCONT)
    # One is back in it, and the other is not.
    get_store().forget("other")
    rows.forget("one")
    assert take() == 1
    assert [row.processes for row in raw()] == [2]


def test_a_look_by_a_command_waits_once(redis: EmbeddedRedis) -> None:  # P8
    beat()
    assert cost_of_silence(redis, make_report) < ONCE


def test_a_piece_of_work_asks_once_and_the_next_one_again(redis: EmbeddedRedis) -> None:  # P8, P11
    beat()
    os.kill(redis.pid, signal.SIGSTOP)
    with control_database():
        assert took(read_beats) > 0.4
        first = read_beats()
        assert took(lambda: [read_beats() for _ in range(20)]) < 20 * SPARED
        assert took(lambda: commands.send("resume", "default", "operator")) < 0.9
        assert first.store == "database"
        assert "does not answer: heartbeats go through the control database" in first.errors[0]
    with control_database():
        assert took(read_beats) > 0.4
    os.kill(redis.pid, signal.SIGCONT)
    with control_database():
        assert read_fleet().store == "redis"
        assert read_fleet().store_error == ""


@pytest.fixture
def slow(redis: EmbeddedRedis) -> Iterator[EmbeddedRedis]:
    """A Redis that answers each question after most of a second."""
    ended = threading.Event()

    def hold_up() -> None:
        with get_client(redis) as one:
            # The command itself waits for the end of the pause before; then the others have their turn.
            while not ended.wait(0.02):
                one.execute_command("CLIENT", "PAUSE", "700")

    thread = threading.Thread(target=hold_up)
    thread.start()
    yield redis
    ended.set()
    thread.join()


def test_a_redis_that_answers_slowly_is_given_up_too(slow: EmbeddedRedis) -> None:  # P8
    with control_database():
        until(lambda: read_beats().store == "database", "the end of patience")
        # On a busy machine its first word may come after the deadline.
        assert any(words in read_beats().errors[0] for words in ("answers too slowly", "does not answer"))
        assert took(lambda: [read_beats() for _ in range(20)]) < 20 * SPARED
