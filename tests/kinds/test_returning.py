"""Who may give a connection back, and what a second return does, whatever the kind."""

import threading
from collections.abc import Callable
from typing import Any

import pytest

from poolmgr import exceptions
from tests.kinds.subjects import Subject, in_thread
from tests.waiting import until

Ask = Callable[[Subject], list[Any]]


def is_still_theirs(subject: Subject, got: list[Any]) -> bool:
    """Whether who was served has the pool's only connection yet, and may go on with it."""
    with pytest.raises(exceptions.PoolExhausted):
        subject.borrow()
    return subject.pool.snapshot().used == 1 and subject.use(got[0]) in subject.ends()


def test_second_return_takes_a_connection_from_nobody(any_subject: Subject, ask: Ask) -> None:  # P3
    any_subject.open(max_size=1, connection_timeout=0.5)
    conn = any_subject.borrow()
    any_subject.give_back(conn)
    got = ask(any_subject)
    until(lambda: got)
    any_subject.give_back(conn)
    assert is_still_theirs(any_subject, got)
    in_thread(lambda: any_subject.give_back(got[0]))
    assert any_subject.pool.snapshot().idle == 1
    with any_subject.borrowed():  # whoever has it again may give it back again
        pass
    assert any_subject.pool.snapshot().idle == 1


def test_borrower_s_own_return_after_another_s_takes_a_connection_from_nobody(
    any_subject: Subject, ask: Ask
) -> None:  # P3
    any_subject.open(max_size=1, connection_timeout=0.5)
    conn = any_subject.borrow()
    in_thread(lambda: any_subject.give_back(conn))
    got = ask(any_subject)
    until(lambda: got)
    any_subject.give_back(conn)
    assert is_still_theirs(any_subject, got)
    in_thread(lambda: any_subject.give_back(got[0]))


def test_another_thread_may_give_back_what_was_borrowed(any_subject: Subject) -> None:
    any_subject.open(max_size=1)
    conn = any_subject.borrow()
    in_thread(lambda: any_subject.give_back(conn))
    seen = any_subject.pool.snapshot()
    assert (seen.used, seen.idle, seen.closed) == (0, 1, 0)


@pytest.mark.parametrize("subject", ["postgresql", "redis", "redis-asyncio"], indirect=True)
def test_pool_forgets_who_gave_back_and_is_gone(subject: Subject) -> None:
    subject.open(max_size=1)
    entry = entry_of(subject)
    all_there = threading.Barrier(20)

    def work() -> None:
        subject.give_all_back(subject.hold(1))
        all_there.wait(20)  # else each would have the place in memory of the one before

    threads = [threading.Thread(target=work) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    del threads, thread
    until(lambda: len(entry.gave) <= 1)
    assert entry_of(subject) is entry


def entry_of(subject: Subject) -> Any:
    with subject.borrowed() as conn:
        return getattr(conn, "entry", None) or conn.slot


def test_connection_that_was_handed_to_who_had_it_before_is_back_in_a_moment(subject: Subject) -> None:  # P4
    subject.open(max_size=1)
    subject.give_all_back(subject.hold(1))
    handed: list[Any] = []
    end = threading.Event()

    def borrow() -> None:
        handed.append(subject.borrow())
        end.wait(30)

    thread = threading.Thread(target=borrow)
    thread.start()
    until(lambda: handed)
    subject.give_back(handed.pop())
    until(lambda: subject.pool.snapshot().used == 0, timeout=0.5)
    end.set()
    thread.join()
