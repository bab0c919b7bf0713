"""What a borrower lost hold of, or took along when it ended, comes back."""

import _thread
import gc
import signal
import threading
from collections.abc import Callable, Iterator
from random import Random
from typing import Any

import pytest
from django.core.signals import request_finished, request_started
from django.db import Error, connection, connections, transaction

from poolmgr.targets.postgresql.housekeeping import look_after
from poolmgr.targets.postgresql.managed import ManagedPool
from tests.integration.backend import is_held, query
from tests.pools import give_back, hold
from tests.waiting import until

MakePool = Callable[..., ManagedPool]


def test_a_later_thread_with_the_same_identifier_is_not_taken_for_the_one_that_ended(make_pool: MakePool) -> None:  # P4
    pool = make_pool(max_size=2)
    idents: list[int] = []
    stay, live = threading.Event(), threading.Event()

    def first() -> None:
        idents.append(threading.get_ident())
        pool.kept_by_first = pool.checkout()  # type: ignore[attr-defined]

    def second() -> None:
        idents.append(threading.get_ident())
        live.set()
        stay.wait(20)

    _thread.start_new_thread(first, ())
    until(lambda: pool.snapshot().used == 1)
    try:
        # The system gives a new thread what the last one had.
        for _ in range(50):
            live.clear()
            _thread.start_new_thread(second, ())
            live.wait(5)
            if idents[-1] == idents[0]:
                break
        until(lambda: pool.snapshot().used == 0)
    finally:
        stay.set()


def test_a_connection_that_its_borrower_dropped_comes_back(  # P4
    make_pool: MakePool, caplog: pytest.LogCaptureFixture
) -> None:
    pool = make_pool(max_size=2)
    kept = pool.checkout()
    pool.checkout()
    assert pool.snapshot().used == 2
    until(lambda: pool.snapshot().used == 1)
    until(lambda: "dropped it" in caplog.text)
    look_after(pool)
    assert pool.snapshot().used == 1
    assert kept.execute("SELECT 1").fetchone() == (1,)
    pool.give_back(kept)


class Unheard:
    """An owner of a class that nobody has heard of."""


class Broken:
    """One whose own code fails when it is asked."""

    @property
    def dead(self) -> bool:
        raise LookupError("no idea")

    @property
    def name(self) -> str:
        raise LookupError("no name")


@pytest.mark.parametrize("odd", [Unheard, Broken])
def test_an_owner_that_can_t_be_asked_keeps_no_other_s_connection(  # P4
    make_pool: MakePool, caplog: pytest.LogCaptureFixture, odd: type
) -> None:
    pool = make_pool(max_size=2, leak_threshold=0.1)
    stranger = odd()
    kept = pool.checkout()
    pool.lend_on(kept, stranger)
    taken: list[Any] = []
    thread = threading.Thread(target=lambda: taken.append(pool.checkout()))
    thread.start()
    thread.join()
    until(lambda: pool.snapshot().used == 1, timeout=5)
    until(lambda: pool.snapshot().leaks > 0)
    assert odd.__name__ in pool.snapshot().holders[0].thread
    assert "housekeeping failed" not in caplog.text
    assert kept.execute("SELECT 1").fetchone() == (1,)
    pool.give_back(kept)


def test_a_connection_that_was_collected_gives_its_place_back(make_pool: MakePool) -> None:  # P4
    pool = make_pool(min_size=2, max_size=2)
    until(lambda: pool.snapshot().idle == 2)
    # As where a borrower is interrupted between the pool's idle connections and those that are out.
    pool.pool.take_idle(lambda conn: True)
    gc.collect()
    look_after(pool)
    give_back(pool, hold(pool, 2))
    assert pool.snapshot().reclaimed == 2


def test_a_wrapper_that_was_interrupted_in_its_middle_releases_again(
    small_pool: Callable[..., ManagedPool], monkeypatch: pytest.MonkeyPatch
) -> None:  # P4
    small_pool("transaction")
    wrapper: Any = connections["default"]
    monkeypatch.setattr(wrapper, "_busy", wrapper._busy + 1)
    query()
    assert is_held()
    request_started.send(sender=None)
    query()
    assert not is_held()
    request_finished.send(sender=None)


class Interrupted(Exception):
    """As Celery's SoftTimeLimitExceeded: raised by a signal handler wherever the main thread is at."""


class Armed:
    """Set ``on`` and the main thread is interrupted at an odd moment, once."""

    on = False


@pytest.fixture
def armed() -> Iterator[Armed]:
    armed, ended = Armed(), threading.Event()

    def interrupt(signum: int, frame: Any) -> None:
        if armed.on:
            armed.on = False
            raise Interrupted

    def ring() -> None:
        random = Random(7)
        while not ended.wait(random.uniform(0.0001, 0.002)):
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGUSR1)

    before = signal.signal(signal.SIGUSR1, interrupt)
    thread = threading.Thread(target=ring)
    thread.start()
    yield armed
    armed.on = False
    ended.set()
    thread.join()
    signal.signal(signal.SIGUSR1, before)


@pytest.mark.long
@pytest.mark.parametrize("mode", ["session", "transaction"])
def test_exceptions_out_of_signal_handlers_cost_no_place(  # P3, P4
    small_pool: Callable[..., ManagedPool], armed: Armed, mode: str
) -> None:
    pool = small_pool(mode, max_size=3)

    def work() -> None:
        try:
            armed.on = True
            while armed.on:
                request_started.send(sender=None)
                query("SELECT 1")
                with transaction.atomic():
                    query("SELECT 1")
                request_finished.send(sender=None)
            raise Interrupted  # in a finaliser, out of which nothing gets
        finally:
            armed.on = False

    for _ in range(1500):
        # An Error where what was interrupted in its middle is broken.
        with pytest.raises((Interrupted, Error)):
            work()
        # Django's own account of its transactions is broken too: only the end of the process, or this, sets it right.
        connection.in_atomic_block, connection.savepoint_ids, connection.atomic_blocks = False, [], []
        request_finished.send(sender=None)
        connection.close()
    until(lambda: pool.snapshot().used == 0 and pool.pool._nconns == len(pool.pool.living))
    held = hold(pool, 3)
    assert len({conn.info.backend_pid for conn in held}) == 3
    give_back(pool, held)
