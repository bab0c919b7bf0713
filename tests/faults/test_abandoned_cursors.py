"""Server-side cursors that nobody closes, or that the garbage collector closes at a bad time: none reaches another borrower."""

import gc
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any

import pytest
from django.db import connections, transaction

import poolmgr
from tests.faults.borrowers import ALIAS, DjangoBorrower
from tests.waiting import until

pytestmark = [
    pytest.mark.faults,
    pytest.mark.filterwarnings("error::pytest.PytestUnraisableExceptionWarning"),
]

each_mode = pytest.mark.parametrize("borrow", ["session", "transaction", "statement"], indirect=True)
with_transactions = pytest.mark.parametrize("borrow", ["session", "transaction"], indirect=True)

Borrow = Callable[..., DjangoBorrower]

OPEN_CURSORS = "SELECT count(*) FROM pg_cursors WHERE name <> ''"


def rows() -> Iterator[Any]:
    """As Django's iterator() reads them."""
    cursor = connections[ALIAS].chunked_cursor()
    try:
        cursor.execute("SELECT generate_series(1, 100)")
        while found := cursor.fetchmany(10):
            yield from found
    finally:
        cursor.close()


def held(borrower: DjangoBorrower) -> AbstractContextManager[Any]:
    """One connection for the block, by a transaction where the mode allows one."""
    return poolmgr.pinned(ALIAS) if borrower.way == "statement" else transaction.atomic(ALIAS)


def as_garbage(generator: Iterator[Any]) -> None:
    """Leave it to the garbage collector alone."""
    cycle: list[Any] = [generator]
    cycle.append(cycle)


@each_mode
def test_one_that_is_open_when_its_connection_goes_back_is_cleaned_away(borrow: Borrow) -> None:  # P2
    borrower = borrow(max_size=1)
    kept = rows()
    next(kept)
    connections[ALIAS].close()
    assert borrower.request(OPEN_CURSORS) == 0
    kept.close()  # type: ignore[attr-defined]
    borrower.recovers()


@each_mode
def test_one_that_is_collected_after_its_checkout_reaches_no_later_one(borrow: Borrow) -> None:  # P3
    borrower = borrow(max_size=1)
    gc.disable()
    try:
        generator = rows()
        next(generator)
        as_garbage(generator)
        del generator
        connections[ALIAS].close()
        with held(borrower):
            borrower.ask("SELECT 1")
            gc.collect()
            # A CLOSE of a cursor that is not there would have spoilt this transaction.
            assert borrower.ask("SELECT 5")[0] == 5
    finally:
        gc.enable()
    connections[ALIAS].close()
    borrower.recovers()


@with_transactions
def test_one_that_is_collected_in_a_later_transaction_does_not_spoil_it(borrow: Borrow) -> None:  # P3
    borrower = borrow(max_size=1)
    kept = []
    with transaction.atomic(ALIAS):
        kept.append(rows())
        next(kept[0])
    with transaction.atomic(ALIAS):
        borrower.ask("SELECT 1")
        kept.clear()
        assert borrower.ask("SELECT 5")[0] == 5
    with transaction.atomic(ALIAS):
        with transaction.atomic(ALIAS):
            kept.append(rows())
            next(kept[0])
            transaction.set_rollback(True, ALIAS)
        # Its savepoint is gone, and it with it.
        kept.clear()
        assert borrower.ask("SELECT 5")[0] == 5
    connections[ALIAS].close()
    borrower.recovers()


@each_mode
def test_one_that_is_collected_in_the_middle_of_a_statement_does_not_wait_for_itself(borrow: Borrow) -> None:  # P8
    borrower = borrow(max_size=1)
    with held(borrower):
        for _ in range(3):
            generator = rows()
            next(generator)
            as_garbage(generator)
            del generator
        with connections[ALIAS].connection.lock:
            # As the collector finds it during a statement.
            gc.collect()
        assert borrower.ask("SELECT 5")[0] == 5
    connections[ALIAS].close()
    assert borrower.request(OPEN_CURSORS) == 0
    borrower.recovers()


@each_mode
def test_one_that_is_collected_in_another_thread_runs_nothing_there(borrow: Borrow) -> None:  # P3
    borrower = borrow(max_size=1)
    with held(borrower):
        kept = [rows()]
        next(kept[0])
        connections[ALIAS].inc_thread_sharing()
        thread = threading.Thread(target=kept.clear)
        thread.start()
        thread.join()
        connections[ALIAS].dec_thread_sharing()
        assert borrower.ask(OPEN_CURSORS)[0] == 1
    connections[ALIAS].close()
    assert borrower.request(OPEN_CURSORS) == 0
    borrower.recovers()


@each_mode
def test_a_loop_that_is_left_early_gives_back_at_once(borrow: Borrow) -> None:  # P4
    borrower = borrow(max_size=1)
    for _ in rows():
        break
    assert borrower.request(OPEN_CURSORS) == 0
    if borrower.way != "session":
        until(lambda: borrower.pool.snapshot().used == 0, timeout=2)
        assert borrower.pool.snapshot().cleaned == 0
    connections[ALIAS].close()
    borrower.recovers()
