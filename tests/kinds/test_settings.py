"""What each word of a profile does, whatever the kind."""

import logging
import os
import re
from collections.abc import Callable
from time import monotonic
from typing import Any

import pytest

from poolmgr import exceptions
from poolmgr.pools.allowance import Allowance
from poolmgr.pools.kinds import Kind
from poolmgr.pools.plan import Action
from poolmgr.targets.kinds import KINDS
from tests.kinds.conftest import ONE_ON_EACH_CORE
from tests.kinds.subjects import Subject
from tests.waiting import until

Ask = Callable[[Subject], list[Any]]


def test_min_size_is_kept_warm_and_raised_live(subject: Subject) -> None:  # P5
    subject.open(min_size=2)
    until(lambda: subject.pool.snapshot().idle == 2)
    subject.change(min_size=4)
    until(lambda: subject.pool.snapshot().idle == 4)
    assert len(subject.ends()) == 4


def test_max_size_bounds_what_the_server_sees(any_subject: Subject, ask: Ask) -> None:  # P6
    any_subject.open(max_size=3)
    held = any_subject.hold(3)
    waiting = [ask(any_subject) for _ in range(3)]
    assert len(any_subject.ends()) == 3
    any_subject.give_all_back(held)
    until(lambda: all(waiting))
    assert {any_subject.use(each[0]) for each in waiting} <= any_subject.ends()
    assert len(any_subject.ends()) == 3
    any_subject.give_all_back([each[0] for each in waiting])


def test_raising_max_size_serves_those_who_wait_already(any_subject: Subject, ask: Ask) -> None:  # P5
    any_subject.open(max_size=1)
    held = any_subject.hold(1)
    waiting = [ask(any_subject) for _ in range(3)]
    assert any_subject.change(max_size=4).action is Action.RESIZE
    until(lambda: all(waiting))
    assert any_subject.pool.snapshot().used == 4
    any_subject.give_all_back([*held, *[each[0] for each in waiting]])


def test_lowering_max_size_closes_idle_connections_now_and_used_ones_as_they_return(any_subject: Subject) -> None:  # P5
    any_subject.open(max_size=4)
    held = any_subject.hold(4)
    any_subject.give_all_back(held[:2])
    any_subject.change(max_size=1)
    until(lambda: len(any_subject.ends()) == 2)
    any_subject.give_all_back(held[2:])
    until(lambda: len(any_subject.ends()) == 1)
    assert any_subject.pool.snapshot().idle == 1


def test_connection_timeout_is_the_wait_before_an_error_that_tells_who_holds_what(
    any_subject: Subject,
) -> None:  # P8 P9
    any_subject.open(max_size=1)
    with any_subject.borrowed():
        any_subject.change(connection_timeout=0.3)
        began = monotonic()
        with pytest.raises(exceptions.PoolExhausted, match=r"1 in use, 0 idle.*held longest by MainThread") as caught:
            any_subject.borrow()
        assert 0.3 <= monotonic() - began < 10
    assert isinstance(caught.value, any_subject.errors["PoolExhausted"])
    assert any_subject.pool.snapshot().timeouts == 1


def test_max_waiting_refuses_at_once_beyond_it(subject: Subject, ask: Ask) -> None:  # P9
    subject.open(max_size=1, max_waiting=1)
    held = subject.hold(1)
    waiting = ask(subject)
    with pytest.raises(exceptions.TooManyWaiting, match="1 requests wait already") as caught:
        subject.borrow()
    assert isinstance(caught.value, subject.errors["TooManyWaiting"])
    subject.give_all_back(held)
    until(lambda: waiting)
    subject.give_back(waiting[0])
    assert subject.pool.snapshot().checkout_errors == 1


def test_idle_timeout_closes_what_is_unused_down_to_min_size(subject: Subject) -> None:
    subject.open(min_size=1, max_size=4, idle_timeout=0.1)
    subject.give_all_back(subject.hold(4))
    until(lambda: len(subject.ends()) == 1)
    until(lambda: subject.pool.snapshot().size == 1)  # which is when the pool has seen it too


@pytest.mark.long
@pytest.mark.parametrize("subject", ONE_ON_EACH_CORE, indirect=True)
def test_idle_timeout_zero_keeps_what_is_unused(subject: Subject) -> None:
    subject.open(max_size=3, idle_timeout=0.1, max_lifetime=0)
    subject.change(idle_timeout=0)
    subject.give_all_back(subject.hold(3))
    _wait_for_rounds(subject)
    assert len(subject.ends()) == 3


def test_max_lifetime_replaces_connections_that_got_old(subject: Subject) -> None:
    subject.open(max_size=1, max_lifetime=0.2)
    with subject.borrowed() as conn:
        first = subject.use(conn)
    until(lambda: first not in subject.ends())
    with subject.borrowed() as conn:
        assert subject.use(conn) != first


@pytest.mark.long
def test_leak_threshold_tells_once_who_holds_a_connection(
    any_subject: Subject, caplog: pytest.LogCaptureFixture
) -> None:
    any_subject.open(leak_threshold=0.1)

    def told() -> list[str]:
        return [record.getMessage() for record in caplog.records if "leak_threshold" in record.getMessage()]

    with caplog.at_level(logging.WARNING, "poolmgr.pool"), any_subject.borrowed():
        until(lambda: any_subject.pool.snapshot().leaks == 1)
        with any_subject.borrowed():
            until(lambda: any_subject.pool.snapshot().leaks == 2)
            # Which are counted before they are told.
            until(lambda: len(told()) == 2)
    assert len(told()) == 2
    assert re.search("MainThread.* has held (a )?connection", told()[0])
    assert os.path.dirname(__file__) in told()[0]


def test_reconnect_timeout_and_health_check_interval_are_taken_in_place(subject: Subject) -> None:  # P5
    subject.open()
    with subject.borrowed() as conn:
        end = subject.use(conn)
        made = subject.change(reconnect_timeout=7.0, health_check_interval=9.0)
    assert made.action is Action.TUNE
    with subject.borrowed() as conn:
        assert subject.use(conn) == end


def test_equal_settings_do_nothing(any_subject: Subject) -> None:
    any_subject.open()
    assert any_subject.change().action is Action.KEEP


def test_settings_in_force_are_told_with_where_they_come_from(any_subject: Subject) -> None:
    any_subject.open(max_size=3)
    any_subject.change(max_size=5)
    seen = any_subject.pool.snapshot()
    assert (seen.kind, seen.max_size, seen.limit, seen.profile, seen.revision) == (
        any_subject.kind.name,
        5,
        5,
        "profile 1",
        1,
    )
    assert seen.settings == any_subject.pool.spec.to_dict()


def test_lease_caps_the_pool_whatever_the_profile_says(subject: Subject, ask: Ask) -> None:  # P6
    subject.open(max_size=4)
    subject.give_all_back(subject.hold(4))
    subject.pool.limit(Allowance(2))
    until(lambda: len(subject.ends()) == 2)
    held = subject.hold(2)
    waiting = ask(subject)
    assert subject.pool.is_limited
    subject.pool.limit(None)
    until(lambda: waiting)
    subject.give_all_back([*held, *waiting])


def test_pool_without_a_lease_has_its_requests_wait_for_one(subject: Subject, ask: Ask) -> None:  # P6
    subject.open(budget=10)
    subject.pool.limit(Allowance(0))
    waiting = ask(subject)
    assert subject.ends() == set()
    subject.pool.limit(Allowance(1))
    until(lambda: waiting)
    subject.give_back(waiting[0])


def test_lease_that_lapses_closes_what_is_idle_and_breaks_off_the_rest(subject: Subject) -> None:  # P6
    subject.open(max_size=2, budget=5)
    held = subject.hold(2)
    subject.change(connection_timeout=0.3)
    subject.give_back(held[1])
    now = monotonic()
    subject.pool.limit(Allowance(2, now + 0.2, now + 0.8))
    until(lambda: len(subject.ends()) == 1)
    assert monotonic() >= now + 0.2
    with pytest.raises(exceptions.PoolExhausted, match="the fleet's budget of 5"):
        subject.borrow()
    until(lambda: not subject.ends())
    assert monotonic() >= now + 0.8
    subject.give_back(held[0])
    until(lambda: subject.pool.load().held == 0)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_word_that_a_kind_refuses_is_refused_with_its_sentence(kind: Kind) -> None:
    words = {"pool_mode": "transaction", "validation": "query", "validation_query": "SELECT 2"}
    values = kind.defaults.to_dict()
    for name, sentence in kind.refuses.items():
        other = words[name] if name in words else values[name] + 20
        errors = kind.errors_in({**values, name: other})
        assert errors[name].startswith(sentence)
    assert kind.errors_in(kind.defaults.to_dict()) == {}


def _wait_for_rounds(subject: Subject) -> None:
    """Two rounds of housekeeping, each of which reports a leak."""
    before = subject.pool.spec.leak_threshold
    subject.change(leak_threshold=0.01)
    for _ in range(2):
        leaks = subject.pool.snapshot().leaks
        with subject.borrowed():
            until(lambda leaks=leaks: subject.pool.snapshot().leaks > leaks)
    subject.change(leak_threshold=before)
