"""Both fleet stores keep the same promises; Redis also pushes."""

from __future__ import annotations

import os
import signal
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.db import connections
from msgspec.structs import replace

from poolmgr.control.store import StoreDown, get_store
from poolmgr.control.store.base import FleetStore, Heard
from poolmgr.control.store.redis import RedisStore
from poolmgr.identity import process_uid
from poolmgr.metrics.details import digest_of
from poolmgr.metrics.snapshot import Holder, PoolSnapshot, ProcessBeat
from poolsite.demo.servers import EmbeddedRedis
from tests.waiting import until

from .control_fleet import wait_for


@pytest.fixture(params=["redis", "database"])
def store(request: pytest.FixtureRequest, transactional_db: None, settings: Any) -> Iterator[FleetStore]:
    settings.POOLMGR = {"NAMESPACE": f"t{uuid.uuid4().hex[:8]}", "PROCESS_TTL": 1, "HEARTBEAT_INTERVAL": 0.3}
    if request.param == "redis":
        settings.POOLMGR = {**settings.POOLMGR, "REDIS_URL": request.getfixturevalue("redis_server").url()}
    made = get_store()
    assert made.name == request.param
    yield made
    made.close()


@pytest.fixture
def redis_store(redis_server: EmbeddedRedis, settings: Any) -> Iterator[RedisStore]:
    settings.POOLMGR = {"NAMESPACE": f"t{uuid.uuid4().hex[:8]}", "PROCESS_TTL": 1, "HEARTBEAT_INTERVAL": 0.3}
    made = RedisStore(redis_server.url())
    yield made
    made.close()


def beat(uid: str, role: str = "web", **values: Any) -> ProcessBeat:
    return ProcessBeat(uid=uid, host="h", pid=1, role=role, started=1.0, at=time.time(), **values)


def test_last_beat_of_every_process(store: FleetStore) -> None:
    store.beat(beat("b", "worker"))
    store.beat(beat("a"))
    last = beat("a", pools=(PoolSnapshot("default", used=3),))
    store.beat(last)
    assert [each.uid for each in store.processes()] == ["a", "b"]
    assert store.processes()[0] == last


def test_details_are_read_by_who_asks_and_written_as_they_change(store: FleetStore) -> None:  # P12
    def pools(checkouts: int, seconds: float, settings: dict[str, Any]) -> tuple[PoolSnapshot]:
        holder = Holder("thread", seconds, 1)
        return (PoolSnapshot("default", used=1, checkouts=checkouts, holders=(holder,), settings=settings),)

    settings = {"budget": 30, "max_size": 10}
    told = beat("a", pools=pools(1, 1.0, settings))
    store.beat(told)
    assert store.read().beats == (told,)
    (pool,) = store.read(details=False).beats[0].pools
    assert (pool.used, pool.holders, pool.checkouts, pool.settings) == (1, (), 0, {"budget": 30})
    assert pool.digest == digest_of(settings)
    # What the totals have too comes with every third beat.
    seen = []
    for checkouts in (2, 3, 4):
        store.beat(replace(told, pools=pools(checkouts, 2.0, settings)))
        seen.append(store.read().beats[0].pools[0].checkouts)
    assert seen == [1, 1, 4]
    changed = pools(5, 1.0, {**settings, "max_size": 11})
    store.beat(replace(told, pools=changed))
    assert store.read().beats[0].pools == changed
    store.forget("a")
    store.beat(replace(told, pools=changed))
    assert store.read().beats[0].pools == changed


def test_forgotten_at_once(store: FleetStore) -> None:
    store.beat(beat("a"))
    store.forget("a")
    assert store.processes() == ()
    assert store.sweep() == ()


def test_silent_process_is_dead_and_swept_once(store: FleetStore) -> None:
    store.beat(beat("a"))
    wait_for(lambda: not store.processes(), 5)
    assert store.sweep() == ("a",)
    assert store.sweep() == ()


def test_one_process_leads_a_target_until_its_lead_is_over(store: FleetStore) -> None:
    assert store.lead("bouncer", "a", 0.8)
    assert not store.lead("bouncer", "b", 0.8)
    assert store.lead("other", "b", 0.8)  # each target by itself
    assert store.lead("bouncer", "a", 0.8)
    began = time.monotonic()
    assert wait_for(lambda: store.lead("bouncer", "b", 0.8), 5)
    assert time.monotonic() - began > 0.3
    assert not store.lead("bouncer", "a", 0.8)


def test_a_lead_that_is_given_up_is_anybody_s_and_nobody_gives_up_another_s(store: FleetStore) -> None:
    assert store.lead("bouncer", "a", 0.9)
    store.give_up_lead("bouncer", "b")
    assert not store.lead("bouncer", "b", 0.9)
    store.give_up_lead("bouncer", "a")
    assert store.lead("bouncer", "b", 0.9)


def test_of_many_that_want_the_lead_at_once_one_gets_it(store: FleetStore) -> None:
    got: list[str] = []
    ready = threading.Barrier(8)

    def want(uid: str) -> None:
        try:
            ready.wait(10)
            if store.lead("bouncer", uid, 0.9):
                got.append(uid)
        finally:
            connections.close_all()

    threads = [threading.Thread(target=want, args=(f"p{number}",)) for number in range(8)]
    for each in threads:
        each.start()
    for each in threads:
        each.join(10)
    assert len(got) == 1


def test_wake_ends_the_wait(store: FleetStore) -> None:
    store.wait(0.5)  # a subscription's confirmation counts as news
    began = time.monotonic()
    timer = threading.Timer(0.1, store.wake)
    timer.start()
    assert store.wait(10)
    assert time.monotonic() - began < 2
    timer.join()
    store.wait(0.1)
    assert not store.wait(0.05)


def test_notify_reaches_others(redis_store: RedisStore, redis_server: EmbeddedRedis) -> None:
    other = RedisStore(redis_server.url())
    while other.wait(0.1):
        pass  # its subscription stands
    redis_store.notify()
    assert other.wait(5)
    other.close()


def test_redis_that_is_down_is_said_without_its_password(settings: Any) -> None:  # P13
    store = RedisStore("redis://user:hunter2@127.0.0.1:1/0")
    began = time.monotonic()
    for call in (store.processes, store.notify, store.sweep, lambda: store.beat(beat("a")), lambda: store.forget("a")):
        with pytest.raises(StoreDown, match=r"Redis at 127\.0\.0\.1:1 can't be reached") as caught:
            call()
        assert "hunter2" not in str(caught.value)
    store.wake()
    assert store.wait(5)  # the wake before it
    assert not store.wait(0.1)
    assert time.monotonic() - began < 3


def test_wrong_password_of_redis(redis_server: EmbeddedRedis) -> None:
    wrong = f"redis://:wrong@127.0.0.1:{redis_server.port}/0"
    with pytest.raises(StoreDown, match="refuses the credentials"):
        RedisStore(wrong).processes()


def test_silent_redis_costs_little(make_redis: Callable[[], EmbeddedRedis]) -> None:  # P8
    server = make_redis()
    store = RedisStore(server.url())
    store.beat(beat("a"))
    os.kill(server.pid, signal.SIGSTOP)
    try:
        began = time.monotonic()
        with pytest.raises(StoreDown, match="does not answer"):
            store.processes()
        assert time.monotonic() - began < 4
    finally:
        os.kill(server.pid, signal.SIGCONT)


def test_redis_that_comes_back_is_used_again(make_redis: Callable[[], EmbeddedRedis]) -> None:  # P11
    server = make_redis()
    store, other = RedisStore(server.url()), RedisStore(server.url())
    store.beat(beat("a"))
    store.wait(0.2)
    server.restart()
    assert wait_for(lambda: _answers(store), 10)
    # Whoever reconnects takes it for news, since it may have missed some.
    assert wait_for(lambda: store.wait(0.2), 10)
    while store.wait(0.2):
        pass
    other.notify()
    assert store.wait(5)


def _answers(store: RedisStore) -> bool:
    try:
        store.beat(beat("a"))
    except StoreDown:
        return False
    return bool(store.processes())


def test_calls_that_have_come_meanwhile_are_one_and_hide_no_news(
    redis_store: RedisStore, redis_server: EmbeddedRedis
) -> None:
    """Who was at the ledger for a while would go there again for each of them."""
    other = RedisStore(redis_server.url())
    for _ in range(3):  # until its subscriptions are confirmed
        redis_store.wait(0.2)
    for _ in range(5):
        other.call({process_uid()})
    other.notify()
    other.call({process_uid()})
    assert redis_store.wait(5) is Heard.CALL
    assert redis_store.wait(5) is Heard.NEWS
    assert redis_store.wait(0.2) is Heard.NOTHING
    redis_store.wake()
    other.call({process_uid()})
    assert {redis_store.wait(5), redis_store.wait(5)} == {Heard.NEWS, Heard.CALL}
    other.close()


def test_call_reaches_those_who_are_named_and_nobody_else(redis_store: RedisStore, redis_server: EmbeddedRedis) -> None:
    other = RedisStore(redis_server.url())
    for store in (redis_store, other):
        while store.wait(0.1):
            pass  # the subscription stands
    # All stores of this process share its name.
    redis_store.call([process_uid(), "somebody-else"])
    assert other.wait(5) is Heard.CALL
    redis_store.call(["somebody-else"])
    assert other.wait(0.2) is Heard.NOTHING
    redis_store.notify()
    assert other.wait(5) is Heard.NEWS
    other.close()


def test_who_has_lined_up_first_hears_first_that_it_is_their_turn(  # P8
    redis_store: RedisStore, redis_server: EmbeddedRedis
) -> None:
    for _ in range(3):  # until its subscriptions are confirmed
        redis_store.wait(0.2)
    for uid in ("first", process_uid(), "last", process_uid()):
        redis_store.line_up(uid)
    redis_store.pass_turn("somebody-else")
    assert redis_store.wait(0.2) is Heard.NOTHING
    redis_store.call([process_uid()])
    redis_store.notify()
    redis_store.pass_turn("somebody-else")
    heard: set[Heard] = set()
    until(lambda: heard.add(redis_store.wait(0.2)) or heard >= {Heard.NEWS, Heard.CALL, Heard.TURN}, "all to be heard")
    while redis_store.wait(0.2):
        pass
    # Who has had their turn without being told is told no more.
    redis_store.line_up(process_uid())
    redis_store.pass_turn(process_uid())
    redis_store.pass_turn("somebody-else")
    assert redis_store.wait(0.2) is Heard.NOTHING


def test_question_is_taken_once_by_whom_it_is_for_and_its_answer_is_read_by_its_name(store: FleetStore) -> None:
    store.ask("a", "q1", "how are you?", 5)
    store.ask("a", "q2", "and now?", 5)
    store.ask("b", "q3", "and you?", 5)
    store.ask("a", "q4", "too late", 0.05)
    time.sleep(0.1)  # which is what is asked about
    assert sorted(store.asked("a")) == [("q1", "how are you?"), ("q2", "and now?")]
    assert store.asked("a") == ()
    assert store.answer_to("q1", 100) == ""
    store.answer("q1", "a word", 5)
    store.answer("q1", "a longer answer", 5)
    assert (store.answer_to("q1", 100), store.answer_to("q1", 8)) == ("a longer answer"[:100], "a longer")
    store.answer("q2", "gone in a moment", 0.05)
    wait_for(lambda: store.answer_to("q2", 100) == "", 5)
    assert store.asked("b") == (("q3", "and you?"),)


def test_question_is_heard_at_once_by_the_process_that_it_is_for(redis_store: RedisStore) -> None:
    while redis_store.wait(0.1):
        pass  # its subscription stands
    redis_store.ask("somebody-else", "q", "?", 5)
    redis_store.ask(process_uid(), "q", "?", 5)
    assert redis_store.wait(5) is Heard.QUESTION
    assert redis_store.asked(process_uid()) == (("q", "?"),)
