"""Pause, recycle, close; dead servers, threads that end, processes that fork; whatever the kind."""

import gc
import json
import logging
import secrets
import threading
from collections.abc import Callable
from time import monotonic
from typing import Any

import pytest
from django.db.utils import OperationalError

from poolmgr import exceptions
from poolmgr.metrics.decoding import as_plain
from tests.disclosure import disclosed_by_logs, disclosures
from tests.forking import in_child
from tests.kinds.conftest import ONE_ON_EACH_CORE
from tests.kinds.subjects import Redis, Subject
from tests.threads import under_load
from tests.waiting import until

Ask = Callable[[Subject], list[Any]]

#: Not in the code, whose lines reporters show, nor in a local of a test.
PLANTED = secrets.token_hex(12)


def test_pause_lets_requests_wait_and_resume_serves_them(subject: Subject, ask: Ask) -> None:
    subject.open(max_size=2)
    subject.give_all_back(subject.hold(2))
    subject.pool.pause()
    assert subject.pool.snapshot().status == "paused"
    waiting = [ask(subject) for _ in range(2)]
    assert not any(waiting)
    subject.pool.resume()
    until(lambda: all(waiting))
    subject.give_all_back([each[0] for each in waiting])


def test_request_fails_at_its_own_timeout_in_a_paused_pool_and_says_so(subject: Subject) -> None:  # P9
    subject.open(connection_timeout=0.1)
    subject.pool.pause()
    with pytest.raises(exceptions.PoolPaused, match="the pool is paused") as caught:
        subject.borrow()
    assert isinstance(caught.value, subject.errors["PoolPaused"])
    assert isinstance(caught.value, OperationalError)


def test_return_to_a_paused_pool_serves_nobody(subject: Subject, ask: Ask) -> None:
    subject.open(max_size=1)
    held = subject.hold(1)
    waiting = ask(subject)
    subject.pool.pause()
    subject.give_all_back(held)
    assert not waiting
    assert subject.pool.snapshot().idle == 1
    subject.pool.resume()
    until(lambda: waiting)
    subject.give_back(waiting[0])


def test_recycle_is_over_when_the_last_heir_is_there(redis_subject: Redis) -> None:
    pool = redis_subject.open(redis_subject.through_proxy, max_size=1, connection_timeout=8).pool
    conn, before, done = redis_subject.borrow(), pool.generation, []
    thread = threading.Thread(target=lambda: done.append(pool.recycle(20)))
    thread.start()
    until(lambda: pool.generation > before)
    # The old one is gone from the pool, and the server is not heard closing its end.
    redis_subject.proxy.freeze()
    redis_subject.give_back(conn)
    until(lambda: pool.snapshot().closing == 1)
    thread.join(0.8)
    assert not done
    redis_subject.proxy.thaw()
    thread.join()
    assert (done[0].replaced, done[0].remaining, done[0].failed) == (1, 0, "")


def test_recycle_replaces_every_connection_idle_and_used(any_subject: Subject) -> None:
    any_subject.open(max_size=4)
    held = any_subject.hold(3)
    any_subject.give_all_back(held[1:])
    before, done = any_subject.ends(), []
    thread = threading.Thread(target=lambda: done.append(any_subject.pool.recycle(20)))
    thread.start()
    until(lambda: len(any_subject.ends() & before) == 1)
    assert not done
    any_subject.give_back(held[0])
    thread.join()
    assert (done[0].replaced, done[0].remaining, done[0].failed) == (3, 0, "")
    until(lambda: not any_subject.ends() & before)
    assert any_subject.pool.snapshot().generation == 2


@pytest.mark.long
def test_recycle_waits_for_what_began_to_connect_before_it_and_replaces_that_too(subject: Subject, ask: Ask) -> None:
    pool = subject.open(subject.through_proxy, max_size=1, connection_timeout=8).pool
    subject.proxy.freeze()
    served = ask(subject)
    until(lambda: subject.proxy.accepted, "a connect to begin")
    before, done = pool.snapshot().generation, []
    thread = threading.Thread(target=lambda: done.append(pool.recycle(20)))
    thread.start()
    until(lambda: pool.snapshot().generation > before)
    thread.join(0.6)
    assert not done
    subject.proxy.thaw()
    until(lambda: served)
    first = subject.use(served[0])
    assert not done
    subject.give_back(served[0])
    thread.join()
    assert (done[0].remaining, done[0].failed) == (0, "")
    with subject.borrowed() as conn:
        assert subject.use(conn) != first


@pytest.mark.parametrize("subject", ["redis-asyncio", "sqlalchemy-asyncio", "asyncpg"], indirect=True)
def test_pool_that_retires_waits_for_no_connect(subject: Subject, ask: Ask) -> None:  # P8
    pool = subject.open(subject.through_proxy, connection_timeout=60).pool
    subject.proxy.freeze()
    ask(subject)
    until(lambda: pool.snapshot().opening)
    pool.retire()
    until(lambda: not pool.load().held, "the connect to be given up")


@pytest.mark.parametrize("size", [1, 3])
def test_recycle_under_load_fails_nobody_and_never_exceeds_max_size(any_subject: Subject, size: int) -> None:  # P6
    any_subject.open(max_size=size)
    uses, most = [0], [0]

    def use() -> None:
        with any_subject.borrowed() as conn:
            any_subject.use(conn)
        uses[0] += 1

    def watch() -> None:
        most[0] = max(most[0], len(any_subject.ends()))

    with under_load(*[use] * 4, watch) as errors:
        until(lambda: uses[0] > 20)
        # By the pool's word, where it knows: a second look at the server would see the first.
        before = set(any_subject.pool.snapshot().backend_pids) or any_subject.ends()
        results = [any_subject.pool.recycle(20) for _ in range(3)]
        after = uses[0]
        until(lambda: uses[0] > after + 20)
    assert errors == []
    assert [each.failed for each in results] == [""] * 3
    assert not any_subject.ends() & before
    assert 1 <= most[0] <= size


def test_recycle_with_the_server_away_says_why(subject: Subject) -> None:
    subject.open(subject.through_proxy, max_size=3)
    subject.give_all_back(subject.hold(1))
    subject.proxy.refuse()
    done = subject.pool.recycle(5)
    assert done.failed
    with subject.borrowed() as conn:  # which is as good as before
        subject.use(conn)


def test_dead_ends_are_never_handed_out(subject: Subject) -> None:  # P7
    subject.open(max_size=4)
    for _ in range(3):
        subject.give_all_back(subject.hold(4))
        before = subject.ends()
        subject.kill()
        with subject.borrowed() as conn:
            assert subject.use(conn) not in before
        until(lambda before=before: not subject.ends() & before)
    assert subject.pool.snapshot().found_dead >= 3


def test_dead_ends_are_noticed_without_a_checkout(subject: Subject) -> None:  # P7
    subject.open(max_size=2)
    subject.give_all_back(subject.hold(2))
    subject.kill()
    until(lambda: subject.pool.snapshot().found_dead == 2)
    assert subject.pool.snapshot().idle == 0


@pytest.mark.long
def test_connection_that_says_nothing_is_not_handed_out_once_it_is_doubtful(subject: Subject) -> None:  # P7 P8
    subject.open(subject.through_proxy, max_size=2, validate_after_idle=0.05, connection_timeout=4)
    with subject.borrowed() as conn:
        first = subject.use(conn)
    began = monotonic()
    until(lambda: monotonic() - began > 0.1)
    subject.proxy.freeze()
    threading.Timer(1.0, subject.proxy.thaw).start()
    with subject.borrowed() as conn:
        assert subject.use(conn)
    assert first


def test_server_that_is_away_is_told_from_a_pool_that_is_exhausted(subject: Subject) -> None:  # P9
    subject.proxy.refuse()
    subject.open(subject.through_proxy, connection_timeout=0.6)
    with pytest.raises(exceptions.ServerDown, match="nothing listens at the address") as caught:
        subject.borrow()
    assert isinstance(caught.value, subject.errors["ServerDown"])
    seen = subject.pool.snapshot()
    assert seen.last_error == "nothing listens at the address"
    assert seen.create_errors >= 2
    assert seen.size == 0


def test_server_that_comes_back_serves_those_who_wait(subject: Subject, ask: Ask) -> None:  # P7
    subject.proxy.refuse()
    subject.open(subject.through_proxy, connection_timeout=10)
    waiting = ask(subject)
    until(lambda: subject.pool.snapshot().create_errors)
    subject.proxy.accept()
    until(lambda: waiting, timeout=5)
    subject.use(waiting[0])
    subject.give_back(waiting[0])


@pytest.mark.long
@pytest.mark.parametrize("subject", ONE_ON_EACH_CORE, indirect=True)
def test_first_request_after_an_outage_is_served_however_long_nobody_asked(subject: Subject) -> None:  # P7
    subject.proxy.refuse()
    subject.open(subject.through_proxy, connection_timeout=1)
    for _ in range(2):
        with pytest.raises(exceptions.ServerDown):
            subject.borrow()
    began = monotonic()
    until(lambda: monotonic() - began > 0.6)  # as long as it is tried again for those who have asked
    subject.proxy.accept()
    until(lambda: monotonic() - began > 4)
    with subject.borrowed() as conn:
        assert subject.use(conn) in subject.ends()


def test_server_that_is_full_is_told_from_one_that_is_away(subject: Subject) -> None:  # P9
    with subject.full() as url:
        subject.open(url, connection_timeout=0.6)
        with pytest.raises(exceptions.ServerFull, match=r"no (connection slot left|room for another client)") as caught:
            subject.borrow()
    assert isinstance(caught.value, subject.errors["ServerFull"])
    assert isinstance(caught.value, OperationalError)
    until(lambda: _serves(subject))


def test_refused_credentials_fail_at_once(subject: Subject) -> None:  # P9
    subject.open(_with_password(subject.url, "not-the-password"), connection_timeout=20)
    began = monotonic()
    with pytest.raises(exceptions.AuthenticationFailed, match="refuses") as caught:
        subject.borrow()
    assert monotonic() - began < 10
    assert isinstance(caught.value, subject.errors["AuthenticationFailed"])


def test_planted_password_is_found_nowhere(subject: Subject, caplog: pytest.LogCaptureFixture) -> None:  # P13
    subject.open(_with_password(subject.url, PLANTED), connection_timeout=1, min_size=1)
    with caplog.at_level(logging.DEBUG), pytest.raises(exceptions.AuthenticationFailed) as caught:
        subject.borrow()
    assert disclosures(caught.value, PLANTED) == []
    assert disclosed_by_logs(caplog.records, PLANTED) == []
    seen = subject.pool.snapshot()
    assert PLANTED not in json.dumps(as_plain(seen)) + repr(subject.pool) + repr(seen)


def test_connection_broken_in_use_is_replaced(subject: Subject) -> None:  # P4
    subject.open(max_size=1)
    conn = subject.borrow()
    first = subject.use(conn)
    subject.kill()
    with pytest.raises(Exception):  # noqa: B017 - each library has its own
        subject.use(conn)
    subject.give_back(conn)
    with subject.borrowed() as conn:
        assert subject.use(conn) != first
    until(lambda: len(subject.ends()) == 1)


def test_what_a_dead_thread_held_comes_back_within_5_seconds(any_subject: Subject) -> None:  # P4
    any_subject.open(max_size=1)
    kept: list[Any] = []
    thread = threading.Thread(target=lambda: kept.append(any_subject.borrow()))
    thread.start()
    thread.join()
    first = any_subject.pool.snapshot().holders[0].backend_pid
    with any_subject.borrowed() as conn:
        assert any_subject.use(conn) != first
    assert any_subject.pool.snapshot().reclaimed == 1


def test_connection_that_its_borrower_dropped_comes_back(subject: Subject) -> None:  # P4
    subject.open(max_size=1)
    conn = subject.borrow()
    subject.use(conn)
    del conn
    gc.collect()
    with subject.borrowed() as conn:
        subject.use(conn)
    assert subject.pool.snapshot().reclaimed == subject.reclaims_what_is_dropped


def test_returning_twice_is_harmless(any_subject: Subject) -> None:  # P3
    any_subject.open(max_size=2)
    conn = any_subject.borrow()
    any_subject.give_back(conn)
    any_subject.give_back(conn)
    held = any_subject.hold(2)
    assert any_subject.use(held[0]) != any_subject.use(held[1])
    any_subject.give_all_back(held)
    assert any_subject.pool.snapshot().idle == 2


def test_closed_pool_says_so_to_those_who_wait(subject: Subject, ask: Ask) -> None:  # P9
    subject.open(max_size=1)
    held = subject.hold(1)
    waiting = ask(subject)
    subject.pool.close()
    until(lambda: waiting)
    assert isinstance(waiting[0], exceptions.PoolClosed)
    assert isinstance(waiting[0], subject.errors["PoolClosed"])
    subject.give_all_back(held)
    until(lambda: not subject.ends())


def test_figures_are_right_to_the_event(any_subject: Subject, ask: Ask) -> None:
    any_subject.open(max_size=2)
    held = any_subject.hold(2)
    any_subject.change(connection_timeout=0.3)
    with pytest.raises(exceptions.PoolExhausted):
        any_subject.borrow()
    seen = any_subject.pool.snapshot()
    assert (seen.used, seen.idle, seen.pending, seen.opening, seen.size) == (2, 0, 0, 0, 2)
    if any_subject.knows_ends:
        assert {each.backend_pid for each in seen.holders} == set(seen.backend_pids) == any_subject.ends()
    any_subject.change(connection_timeout=5.0)
    waiting = ask(any_subject)
    assert any_subject.pool.load() == (2, 2, 1)
    any_subject.give_all_back(held)
    until(lambda: waiting)
    # This thread has given it back before.
    threading.Thread(target=any_subject.give_back, args=[waiting[0]]).start()
    until(lambda: any_subject.pool.snapshot().idle == 2)
    seen = any_subject.pool.snapshot()
    assert (seen.checkouts, seen.use_time.count, seen.timeouts, seen.checkout_errors) == (3, 3, 1, 0)
    assert (seen.created, seen.create_time.count, seen.create_errors, seen.closed) == (2, 2, 0, 0)
    assert seen.wait_time.total >= 0
    any_subject.pool.recycle(10)
    if not any_subject.connects_ahead:
        any_subject.give_all_back(any_subject.hold(2))
    seen = any_subject.pool.snapshot()
    assert (seen.created, seen.closed, seen.generation, seen.idle, seen.closing) == (4, 2, 2, 2, 0)
    assert (seen.create_time.count, seen.last_error) == (4, "")


def test_forked_child_leaves_its_parent_s_connections_alone(subject: Subject) -> None:  # P3
    subject.open(max_size=2)
    held = subject.hold(2)
    subject.give_back(held[1])
    ends = subject.ends()

    def child() -> list[Any]:
        seen = subject.pool.snapshot()
        subject.give_back(held[0])
        gc.collect()
        return [seen.status, seen.size - seen.opening, seen.used]

    assert in_child(child) == ["closed", 0, 0]
    assert subject.use(held[0]) in ends
    subject.give_back(held[0])
    with subject.borrowed() as conn:
        assert subject.use(conn) in ends
    assert subject.ends() == ends


def _serves(subject: Subject) -> bool:
    try:
        with subject.borrowed() as conn:
            return subject.use(conn) in subject.ends()
    except exceptions.CheckoutError:
        return False


def _with_password(url: str, password: str) -> str:
    head, _, tail = url.rpartition("@")
    return f"{head.rpartition(':')[0]}:{password}@{tail}"
