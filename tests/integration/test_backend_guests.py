"""A request's work in threads that are not its own, as ``sync_to_async(thread_sensitive=False)`` does it."""

import contextvars
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.core.signals import request_finished, request_started
from django.db import connection, transaction

from poolmgr.targets.postgresql import housekeeping
from poolmgr.targets.postgresql.managed import ManagedPool
from tests.integration.backend import MODES, backend_pid, is_held, query
from tests.waiting import until

Small = Callable[..., ManagedPool]
both = pytest.mark.parametrize("mode", MODES)


@pytest.fixture
def executor() -> Iterator[ThreadPoolExecutor]:
    """One thread, which knows of no request's end."""
    with ThreadPoolExecutor(1) as made:
        yield made
        made.submit(lambda: connection.close()).result()  # that thread's connection


def work(executor: ThreadPoolExecutor, *jobs: Callable[[], Any]) -> list[Any]:
    """What the jobs return, done in the executor's thread as one call on behalf of the request under way."""
    context = contextvars.copy_context()
    return executor.submit(context.run, lambda: [job() for job in jobs]).result(30)


@pytest.fixture
def in_request() -> Iterator[None]:
    request_started.send(sender=None)
    yield
    request_finished.send(sender=None)


@both
def test_a_thread_that_works_for_a_request_keeps_nothing(  # P4
    small_pool: Small, executor: ThreadPoolExecutor, in_request: None, mode: str
) -> None:
    pool = small_pool(mode)
    assert work(executor, query, is_held) == [[(1,)], False]
    assert pool.snapshot().used == 0

    def write() -> int:
        with transaction.atomic():
            assert is_held()
            return backend_pid()

    assert work(executor, write, is_held)[1] is False
    # The request's own thread is none of theirs.
    query()
    assert is_held() is (mode == "session")


@both
def test_session_state_keeps_the_connection_for_the_request_only(  # P2 P4
    small_pool: Small, executor: ThreadPoolExecutor, mode: str
) -> None:
    pool = small_pool(mode, max_size=2)
    request_started.send(sender=None)
    shown = "SHOW statement_timeout"
    work(executor, lambda: query("SET statement_timeout = 54321"))
    assert work(executor, lambda: query(shown), is_held) == [[("54321ms",)], True]
    request_finished.send(sender=None)
    # Before anybody takes it back the thread works for another request already.
    request_started.send(sender=None)
    assert work(executor, lambda: query(shown), is_held) == [[("0",)], False]
    request_finished.send(sender=None)
    until(lambda: pool.snapshot().used == 0, "the connection to come back")


@both
def test_what_a_thread_holds_after_the_request_comes_back_while_the_thread_lives(  # P4
    small_pool: Small, executor: ThreadPoolExecutor, mode: str
) -> None:
    pool = small_pool(mode, max_size=2)
    reclaimed = pool.snapshot().reclaimed
    request_started.send(sender=None)
    work(executor, lambda: query("SET statement_timeout = 54321"))
    assert pool.snapshot().used == 1
    request_finished.send(sender=None)
    until(lambda: pool.snapshot().used == 0, "the connection to come back", 5)
    assert pool.snapshot().reclaimed == reclaimed + 1
    # The thread doesn't touch what it had.
    assert executor.submit(query, "SHOW statement_timeout").result(10) == [("0",)]


def test_a_thread_still_at_work_for_a_request_that_is_over_keeps_its_connection(  # P3
    small_pool: Small, executor: ThreadPoolExecutor
) -> None:
    """As after a cancelled request, whose threads can't be stopped."""
    pool = small_pool("session", max_size=2)
    request_started.send(sender=None)
    begun, rounds = threading.Event(), threading.Event()

    def stray() -> tuple[bool, Any]:
        query("SET statement_timeout = 54321")
        pid = backend_pid()
        begun.set()
        rounds.wait(20)
        return pid == backend_pid(), query("SHOW statement_timeout")

    context = contextvars.copy_context()
    going = executor.submit(context.run, stray)
    assert begun.wait(10)
    request_finished.send(sender=None)
    housekeeping.look_after(pool)  # which takes back what nobody will give back
    assert pool.snapshot().used == 1
    rounds.set()
    assert going.result(10) == (True, [("54321ms",)])
    until(lambda: pool.snapshot().used == 0, "the connection to come back", 5)
