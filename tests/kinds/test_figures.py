"""What a pool counts, to the event; whatever the kind."""

from contextlib import suppress

from poolmgr.exceptions import CheckoutError
from tests.kinds.subjects import Subject
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


def serves(subject: Subject) -> bool:
    with suppress(*subject.breaks, CheckoutError), subject.borrowed() as conn:
        return bool(subject.use(conn))
    return False
