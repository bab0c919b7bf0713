"""What a pool counts, to the event; whatever the kind."""

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
