"""When a connection is asked whether it lives, and what becomes of one that doesn't say so; whatever the kind."""

import logging
from time import monotonic

import pytest

from tests.kinds.subjects import Subject
from tests.waiting import until


@pytest.mark.parametrize(("validation", "asks"), [("query", True), ("socket", False), ("off", False)])
def test_validation_says_whether_each_checkout_asks(subject: Subject, validation: str, asks: bool) -> None:  # P7
    subject.open(max_size=1, validation=validation)
    subject.give_all_back(subject.hold(1))
    before = subject.asked()
    with subject.borrowed():
        assert (subject.asked() != before) == asks


def test_validate_after_idle_asks_what_was_unused_for_long(subject: Subject) -> None:  # P7
    subject.open(max_size=1, validate_after_idle=0.05)
    subject.give_all_back(subject.hold(1))
    before, began = subject.asked(), monotonic()
    until(lambda: monotonic() - began > 0.06)
    with subject.borrowed():
        assert subject.asked() != before


def test_keepalive_interval_asks_idle_connections(subject: Subject) -> None:
    subject.open(max_size=2, keepalive_interval=0.1)
    subject.give_all_back(subject.hold(2))
    before = subject.asked()
    until(lambda: subject.asked() != before)
    until(lambda: subject.pool.snapshot().idle == 2)
    assert subject.pool.snapshot().created == 2


def test_validation_off_hands_out_a_dead_connection_as_it_says(subject: Subject) -> None:
    subject.open(max_size=1, validation="off")
    subject.give_all_back(subject.hold(1))
    subject.kill()
    with subject.borrowed() as conn, pytest.raises(subject.breaks):
        subject.use(conn)


def test_validation_in_mode_query_hands_out_nothing_that_is_silent(subject: Subject) -> None:  # P7
    subject.open(subject.through_proxy, max_size=1, validation="query", connection_timeout=1)
    with subject.borrowed() as conn:
        first = subject.use(conn)
    subject.proxy.freeze()
    began = monotonic()
    with pytest.raises(Exception, match="does not answer"):
        subject.borrow()
    assert monotonic() - began < 10
    subject.proxy.thaw()
    subject.change(connection_timeout=5.0)
    with subject.borrowed() as conn:
        assert subject.use(conn) != first


def test_validation_query_that_no_connection_passes_is_reported_and_costs_no_connects(
    subject: Subject, caplog: pytest.LogCaptureFixture
) -> None:  # P5
    if not subject.takes_queries:
        return
    subject.open(max_size=1)
    subject.give_all_back(subject.hold(1))
    subject.change(validation="query", validation_query="SELECT a FROM no_such_table", keepalive_interval=0.1)
    with caplog.at_level(logging.INFO, "poolmgr.pool"):
        for _ in range(5):
            with subject.borrowed() as conn:
                subject.use(conn)
        before = subject.asked()
        until(lambda: subject.asked() != before)
    assert subject.pool.snapshot().created == 2
    assert caplog.text.count("fails on a fresh connection") == 1
    # Another that is right is heeded again.
    subject.change(validation_query="SELECT 40 + 2")
    subject.kill()
    with subject.borrowed() as conn:
        subject.use(conn)
