"""What a pool counts, to the event; whatever the kind."""

import time
from contextlib import suppress

import pytest

from poolmgr.exceptions import CheckoutError
from poolmgr.pools.labels import Label, labelled
from tests.kinds.subjects import Subject
from tests.threads import Begun
from tests.waiting import until


def test_checkout_that_finds_dead_connections_counts_once(subject: Subject) -> None:  # P7
    subject.open(max_size=3)
    subject.give_all_back(subject.hold(3))
    before = subject.pool.snapshot()
    subject.kill()
    with subject.borrowed() as conn:
        subject.use(conn)
    until(lambda: subject.pool.snapshot().closed == 3)
    seen = subject.pool.snapshot()
    assert (seen.checkouts - before.checkouts, seen.use_time.count - before.use_time.count) == (1, 1)
    assert (seen.found_dead, seen.closed, seen.created) == (3, 3, 4)
    assert (seen.timeouts, seen.checkout_errors, seen.create_errors) == (0, 0, 0)


def test_failed_connects_are_counted_each_and_told_until_one_succeeds(any_subject: Subject) -> None:
    any_subject.proxy.refuse()
    any_subject.open(any_subject.through_proxy, max_size=1, connection_timeout=0.6)
    with suppress(*any_subject.breaks, CheckoutError), any_subject.borrowed() as conn:
        any_subject.use(conn)
    seen = any_subject.pool.snapshot()
    assert (seen.last_error, seen.created, seen.create_time.count) == ("nothing listens at the address", 0, 0)
    assert seen.create_errors >= 1
    assert seen.last_error_at > 0
    any_subject.proxy.accept()
    until(lambda: serves(any_subject))
    seen = any_subject.pool.snapshot()
    assert (seen.last_error, seen.created, seen.create_time.count, seen.closed) == ("", 1, 1, 0)


# Below kombu redis-py connects again by itself.
def test_connection_that_broke_in_use_counts_once(subject: Subject) -> None:
    subject.open(max_size=1)
    with suppress(*subject.breaks, CheckoutError), subject.borrowed() as conn:
        subject.use(conn)
        subject.kill()
        subject.use(conn)
    until(lambda: serves(subject))
    seen = subject.pool.snapshot()
    assert (seen.created, seen.closed, seen.used, seen.idle) == (2, 1, 0, 1)
    assert seen.use_time.count == seen.checkouts


def test_wait_in_vain_counts_at_its_full_length_and_is_told_while_it_lasts(any_subject: Subject) -> None:
    any_subject.open(max_size=1, connection_timeout=0.4)
    held = any_subject.hold(1)
    before = any_subject.pool.snapshot()
    waiting = Begun(any_subject.borrow)
    until(lambda: any_subject.pool.snapshot().oldest_wait > 0.15)
    assert any_subject.pool.snapshot().pending == 1
    assert isinstance(waiting.end(), CheckoutError | any_subject.errors["PoolExhausted"])
    ended = time.time()
    any_subject.give_all_back(held)
    seen = any_subject.pool.snapshot()
    assert (seen.timeouts, seen.checkouts, seen.pending, seen.oldest_wait) == (1, before.checkouts, 0, 0.0)
    assert (seen.wait_time - before.wait_time).total == pytest.approx(0.4, abs=0.3)
    assert seen.wait_time.count == seen.checkouts + seen.timeouts
    assert (seen.recent_timeouts, seen.recent_checkouts) == (1, seen.checkouts)
    assert seen.last_timeout_at == pytest.approx(ended, abs=0.3)


def test_a_pause_tells_since_when_and_how_many_failed_by_it(subject: Subject) -> None:  # P8
    subject.open(max_size=1)
    subject.give_all_back(subject.hold(1))  # a busy machine may take longer to connect than anybody waits below
    subject.change(connection_timeout=0.1)
    with subject.borrowed(), suppress(*subject.breaks, CheckoutError):
        subject.borrow()
    assert subject.pool.snapshot().paused_at == 0.0
    began = time.time()
    subject.pool.pause()
    with suppress(*subject.breaks, CheckoutError):
        subject.borrow()
    subject.pool.pause()  # which holds already
    seen = subject.pool.snapshot()
    assert seen.paused_at == pytest.approx(began, abs=0.3)
    assert (seen.timeouts, seen.timeouts_paused) == (2, 1)
    subject.pool.resume()
    seen = subject.pool.snapshot()
    assert (seen.paused_at, seen.timeouts_paused) == (0.0, 0)


def test_holder_is_called_by_what_it_works_for_whether_it_waited_or_not(any_subject: Subject) -> None:
    any_subject.open(max_size=1)
    with labelled(Label("view", "GET /search/", "8f3a")):
        held = any_subject.hold(1)
    holder = any_subject.pool.snapshot().holders[0]
    assert (holder.label, holder.request) == ("GET /search/", "8f3a")
    assert holder.who == f"GET /search/[8f3a] in {holder.thread}"
    waiting = Begun(lambda: borrow_for(any_subject, "reports.build"))
    until(lambda: any_subject.pool.snapshot().pending)
    any_subject.give_all_back(held)
    conn = waiting.end()
    assert any_subject.pool.snapshot().holders[0].label == "reports.build"
    any_subject.give_back(conn)
    with any_subject.borrowed():
        assert any_subject.pool.snapshot().holders[0].label == ""


def test_use_is_counted_by_label_as_it_is_returned_and_while_it_lasts(any_subject: Subject) -> None:
    any_subject.open(max_size=2)
    for name in ("GET /a/", "GET /a/", "GET /b/"):
        with labelled(Label("view", name, "8f3a")):
            any_subject.give_all_back(any_subject.hold(1))

    def uses() -> dict[str, tuple[str, int]]:
        return {use.name: (use.kind, use.recent.count) for use in any_subject.pool.snapshot().uses if use.name}

    until(lambda: uses() == {"GET /a/": ("view", 2), "GET /b/": ("view", 1)})
    conn = borrow_for(any_subject, "reports.build")
    any_subject.give_back(conn)
    until(lambda: uses().get("reports.build") == ("task", 1))
    told = any_subject.pool.snapshot()
    assert sum(use.recent.count for use in told.uses) == told.use_time.count
    assert sum(use.recent.held for use in told.uses) == pytest.approx(told.use_time.total, abs=0.01)


def borrow_for(subject: Subject, name: str) -> object:
    with labelled(Label("task", name)):
        return subject.borrow()


def serves(subject: Subject) -> bool:
    with suppress(*subject.breaks, CheckoutError), subject.borrowed() as conn:
        return bool(subject.use(conn))
    return False
