"""Pause, resume, recycle, restart, return: what an operator and a borrower may do to a pool."""

import gc
import logging
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import suppress
from time import monotonic
from typing import Any

import psycopg
import pytest

from poolmgr.exceptions import AuthenticationFailed, CheckoutError, PoolClosed, PoolExhausted, PoolPaused, ServerDown
from poolmgr.targets.postgresql import housekeeping
from poolmgr.targets.postgresql.managed import ManagedPool
from tests.pools import backends, give_back, hold, kill_backends, managed_pool, parameters, wait_in_thread
from tests.proxy import Proxy
from tests.waiting import until

MakePool = Callable[..., ManagedPool]


def test_pause_lets_requests_wait_and_resume_serves_them(make_pool: MakePool) -> None:
    pool = make_pool(max_size=2)
    give_back(pool, hold(pool, 2))
    pool.pause()
    results: list[Any] = []
    threads = [wait_in_thread(pool, results) for _ in range(3)]
    assert results == []
    assert pool.snapshot().status == "paused"
    pool.resume()
    until(lambda: len(results) == 2)
    give_back(pool, [results[0]])
    for thread in threads:
        thread.join()
    assert all(isinstance(each, psycopg.Connection) for each in results)
    give_back(pool, results[1:])


def test_a_request_fails_at_its_own_timeout_in_a_paused_pool_and_says_so(make_pool: MakePool) -> None:  # P9
    pool = make_pool()
    pool.pause()
    with pytest.raises(PoolPaused, match="the pool is paused"):
        pool.checkout(timeout=0.1)
    pool.resume()
    with pool.connection() as conn:
        conn.execute("SELECT 1")


def test_a_return_to_a_paused_pool_serves_nobody(make_pool: MakePool) -> None:
    pool = make_pool(max_size=1)
    held = hold(pool, 1)
    results: list[Any] = []
    thread = wait_in_thread(pool, results)
    pool.pause()
    give_back(pool, held)
    assert results == []
    assert pool.snapshot().idle == 1
    pool.resume()
    thread.join()
    give_back(pool, results)


def test_recycle_replaces_every_connection_idle_and_used(make_pool: MakePool, pool_url: str) -> None:
    pool = make_pool(min_size=3, max_size=4)
    until(lambda: pool.snapshot().idle == 3)
    held = hold(pool, 1)
    before = backends(pool_url)
    results: list[Any] = []
    thread = threading.Thread(target=lambda: results.append(pool.recycle(timeout=10)))
    thread.start()
    until(lambda: len(before & backends(pool_url)) == 1)
    give_back(pool, held)
    thread.join()
    assert (results[0].remaining, results[0].failed) == (0, "")
    until(lambda: not before & backends(pool_url))
    assert pool.snapshot().generation == 2
    until(lambda: pool.snapshot().idle >= 3)


def test_recycle_is_not_over_before_what_takes_the_old_ones_places_is_there(
    make_pool: MakePool, pool_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = make_pool(max_size=1)
    held = hold(pool, 1)
    before = backends(pool_url)
    results: list[Any] = []
    thread = threading.Thread(target=lambda: results.append(pool.recycle(timeout=10)))
    connect, go_on = pool.pool._connect, threading.Event()

    def slowly(*args: Any, **kwargs: Any) -> Any:
        assert go_on.wait(10)
        return connect(*args, **kwargs)

    monkeypatch.setattr(pool.pool, "_connect", slowly)
    thread.start()
    until(lambda: pool.pool.generation == 2, "the recycle to begin")
    give_back(pool, held)
    until(lambda: not backends(pool_url) & before, "the old one to be gone")
    thread.join(0.5)
    assert not results
    go_on.set()
    thread.join(10)
    (report,) = results
    assert (report.replaced, report.remaining, report.failed) == (1, 0, "")


def test_recycle_with_the_server_down_keeps_working_connections_and_says_why(make_postgres: Callable[..., Any]) -> None:
    server = make_postgres()
    pool = managed_pool(server.create_database("recycled"), min_size=1, max_size=2)
    until(lambda: pool.snapshot().idle == 1)
    pid = pool.snapshot().backend_pids
    pool.given["password"] = "wrong"  # type: ignore[attr-defined]
    report = pool.recycle(timeout=5)
    assert report.failed == "the server refuses the password"
    with pool.connection() as conn:
        assert (conn.info.backend_pid,) == pid
    pool.close()


def test_a_restart_costs_idle_connections_but_no_query(make_pool: MakePool, pool_url: str) -> None:  # P7
    pool = make_pool(max_size=5, connection_timeout=5)
    give_back(pool, hold(pool, 5))
    kill_backends(pool_url)
    until(lambda: not backends(pool_url))
    began = monotonic()
    with pool.connection() as conn:
        conn.execute("SELECT 1")
    assert monotonic() - began < 1.0
    until(lambda: pool.snapshot().found_dead == 5)


def test_idle_connections_that_died_are_noticed_without_a_checkout(make_pool: MakePool, pool_url: str) -> None:  # P7
    pool = make_pool(min_size=2, max_size=2)
    until(lambda: pool.snapshot().idle == 2)
    before = backends(pool_url)
    kill_backends(pool_url)
    until(lambda: len(backends(pool_url) - before) == 2)
    until(lambda: pool.snapshot().idle == 2)


def test_an_open_transaction_is_rolled_back_at_return(make_pool: MakePool) -> None:  # P2
    pool = make_pool(max_size=1)
    conn = pool.checkout()
    conn.execute("CREATE TABLE IF NOT EXISTS undone (a int)")
    conn.execute("BEGIN")
    conn.execute("INSERT INTO undone VALUES (1)")
    pool.give_back(conn)
    with pool.connection() as again:
        assert again.info.backend_pid == conn.info.backend_pid
        assert again.execute("SELECT count(*) FROM undone").fetchone() == (0,)
        again.execute("DROP TABLE undone")


def test_a_connection_returned_in_the_middle_of_a_statement_is_closed(make_pool: MakePool) -> None:  # P3
    pool = make_pool(max_size=1)
    conn = pool.checkout()
    pid = conn.info.backend_pid
    conn.pgconn.send_query(b"SELECT pg_sleep(30)")
    pool.give_back(conn)
    with pool.connection() as again:
        assert again.info.backend_pid != pid
        again.execute("SELECT 1")


def test_a_connection_broken_in_use_is_replaced(make_pool: MakePool, pool_url: str) -> None:  # P4
    pool = make_pool(max_size=1)
    conn = pool.checkout()
    kill_backends(pool_url)
    with pytest.raises(psycopg.OperationalError):
        conn.execute("SELECT 1")
    pool.give_back(conn)
    with pool.connection() as again:
        again.execute("SELECT 1")
    assert pool.snapshot().size == 1


def test_a_dirty_connection_that_can_not_be_replaced_is_cleaned_all_the_same(make_pool: MakePool) -> None:  # P2
    pool = make_pool(max_size=2)
    conn = pool.checkout()
    conn.execute("SET app.x = 'mine'")
    conn.entry.pins.add("SET")
    pool.pool.drain()
    pool.given["password"] = "wrong"  # type: ignore[attr-defined]
    pool.give_back(conn)
    until(lambda: pool.snapshot().create_errors == 1 and pool.snapshot().idle == 1)
    with pool.connection() as again:
        assert again is conn
        assert again.execute("SELECT coalesce(current_setting('app.x', true), '')").fetchone() == ("",)


def test_a_connection_is_closed_before_its_place_is_given_up(make_pool: MakePool) -> None:  # P6
    pool = make_pool(max_size=1)
    conn = pool.checkout()
    seen: list[tuple[bool, int]] = []

    class Watched(type(conn)):  # type: ignore[misc]
        def close(self) -> None:
            seen.append((self.closed, pool.pool._nconns))
            super().close()

    conn.__class__ = Watched
    conn.entry.pins.add("LOAD")
    pool.give_back(conn)
    until(lambda: pool.snapshot().closed == 1)
    assert seen == [(False, 1)]


def test_who_is_served_as_they_give_up_keeps_the_connection(make_pool: MakePool) -> None:  # P4
    pool = make_pool(max_size=1)
    held, results = pool.checkout(), []
    waiter = wait_in_thread(pool, results, timeout=0.2)
    with pool.pool._lock:
        # The waiter's time is over, but to leave the queue they need the lock.
        deadline = monotonic() + 0.3
        until(lambda: monotonic() > deadline)
        pool.give_back(held)
    waiter.join()
    assert results == [held]
    assert pool.snapshot().used == 1
    pool.give_back(held)


def test_returning_twice_is_harmless(make_pool: MakePool) -> None:  # P3
    pool = make_pool(max_size=2)
    conn = pool.checkout()
    pool.give_back(conn)
    pool.give_back(conn)
    first, second = pool.checkout(), pool.checkout()
    assert first is not second
    give_back(pool, [first, second])


def test_what_a_dead_thread_held_comes_back_within_5_seconds(make_pool: MakePool) -> None:  # P4
    pool = make_pool(max_size=1)
    thread = threading.Thread(target=pool.checkout)
    thread.start()
    thread.join()
    with pool.connection(timeout=5) as conn:
        conn.execute("SELECT 1")
    assert pool.snapshot().reclaimed == 1
    assert pool.snapshot().size == 1


class Local:
    """Something that a function has, which ends with the function."""


@pytest.fixture
def no_collector() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def test_a_look_at_the_threads_keeps_nothing_of_what_they_had(make_pool: MakePool, no_collector: None) -> None:  # P4
    pool = make_pool(max_size=1)
    held, leave = threading.Event(), threading.Event()
    local: list[Any] = []

    def work() -> None:
        # As an iterator that is left early: it closes its cursor when the last that refers to it is gone.
        own = Local()
        local.append(weakref.ref(own))
        held.set()
        leave.wait(20)

    def borrow() -> None:
        with pool.connection():
            work()

    thread = threading.Thread(target=borrow)
    thread.start()
    assert held.wait(5)
    housekeeping.look_after(pool)
    assert pool.snapshot().reclaimed == 0
    leave.set()
    thread.join()
    assert local[0]() is None


def test_an_error_that_the_pool_remembers_keeps_nothing_of_those_who_met_it(  # P4
    make_pool: MakePool, no_collector: None
) -> None:
    pool = make_pool(connection_timeout=10.0)
    pool.given["user"] = "nobody_of_this_name"  # type: ignore[attr-defined]
    local: list[Any] = []

    def work() -> None:
        own = Local()
        local.append(weakref.ref(own))
        try:
            pool.checkout()
        except AuthenticationFailed:
            return

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert pool.pool.last_error is not None
    assert [each() for each in local] == [None] * 4


def test_a_thread_that_python_did_not_start_is_not_taken_for_dead_while_it_runs(make_pool: MakePool) -> None:  # P3
    import _thread

    pool = make_pool(max_size=1)
    held, leave, left = threading.Event(), threading.Event(), threading.Event()

    def foreign() -> None:
        conn = pool.checkout()
        held.set()
        leave.wait(20)
        pool.give_back(conn)
        left.set()

    _thread.start_new_thread(foreign, ())
    assert held.wait(5)
    rounds = pool.history
    until(lambda: len(rounds._past) >= 1)
    assert pool.snapshot().reclaimed == 0
    leave.set()
    assert left.wait(5)
    assert pool.snapshot().idle == 1


def test_psycopg_pool_s_check_replaces_what_is_broken_and_no_more(  # P6
    make_pool: MakePool, pool_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    # A captured record would keep the broken connection that it tells of.
    caplog.set_level(logging.CRITICAL, "psycopg.pool")
    pool = make_pool(min_size=2, max_size=2, validation="off")
    for _ in range(3):
        until(lambda: pool.snapshot().idle == 2)
        kill_backends(pool_url)
        pool.pool.check()
        gc.collect()
        housekeeping.look_after(pool)
    until(lambda: pool.snapshot().idle == 2)
    held = hold(pool, 2)
    with pytest.raises(PoolExhausted):
        pool.checkout(timeout=0.2)
    assert len(backends(pool_url)) == 2
    give_back(pool, held)


def test_psycopg_pool_s_drain_replaces_used_connections_as_they_return(make_pool: MakePool) -> None:
    pool = make_pool(max_size=1)
    conn = pool.checkout()
    pool.pool.drain()
    pool.give_back(conn)
    with pool.connection() as fresh:
        assert fresh is not conn


def test_a_closed_pool_says_so_to_those_who_wait_and_to_those_who_come(make_pool: MakePool) -> None:  # P9
    pool = make_pool(max_size=1)
    held = hold(pool, 1)
    results: list[Any] = []
    thread = wait_in_thread(pool, results)
    pool.close()
    thread.join()
    assert isinstance(results[0], PoolClosed)
    with pytest.raises(PoolClosed):
        pool.checkout()
    pool.give_back(held[0])
    assert held[0].closed


def test_who_only_tries_is_no_request_that_got_no_connection(postgres: Any, pool_url: str) -> None:
    """The console and the agent go another way at once: a dashboard must not call that a failed request."""
    proxy = Proxy(postgres.port)
    pool = managed_pool(pool_url.replace(f":{postgres.port}/", f":{proxy.port}/"), max_size=1, connection_timeout=5.0)
    try:
        give_back(pool, hold(pool, 1))
        proxy.refuse()
        proxy.reset()
        assert pool.try_checkout() is None
        seen = pool.snapshot()
        assert seen.found_dead == 1
        assert (seen.timeouts, seen.checkout_errors, seen.recent_timeouts) == (0, 0, 0)
        with pytest.raises(ServerDown):
            pool.checkout(0.1)
        assert pool.snapshot().timeouts == 1
    finally:
        pool.close()
        proxy.close()


def test_load_counts_what_closes_and_what_opens_in_its_place(pool_url: str) -> None:  # P6
    """A process that tells less than it holds would have others take the difference."""
    port = parameters(pool_url)["port"]
    proxy = Proxy(port)
    pool = managed_pool(pool_url.replace(f":{port}/", f":{proxy.port}/"), max_size=4)
    try:
        give_back(pool, hold(pool, 2))
        proxy.freeze()
        pool.pool.drain()
        until(lambda: pool.load().held == 4, "two to be opened while the server still has those before them")
        assert len(backends(pool_url)) == 2
    finally:
        proxy.thaw()
        pool.close()
        proxy.close()


@pytest.mark.long
def test_hook_that_never_ends_loses_its_connection_and_its_place(pool_url: str) -> None:  # P4
    tried: list[Any] = []

    def configure(conn: Any) -> None:
        tried.append(conn)
        if len(tried) == 1:
            conn.execute("SELECT pg_sleep(3600)")

    def served() -> bool:
        with suppress(CheckoutError), pool.connection(timeout=0.5):
            return True
        return False

    pool = managed_pool(pool_url, configure=configure, max_size=1, connection_timeout=1.0)
    try:
        until(served, "the hook to be broken off", 30)
        until(lambda: len(backends(pool_url)) == 1, "the session that it had to end")
    finally:
        pool.close()


def test_new_connection_joins_the_others_while_nobody_goes_through_them(make_pool: MakePool) -> None:  # P4
    """As a recycle does, which would fail at a set that changes meanwhile."""
    pool = make_pool(max_size=1)
    alone: list[bool] = []

    class Watched(weakref.WeakSet[Any]):
        def add(self, item: Any) -> None:
            alone.append(pool.pool._lock._is_owned())
            super().add(item)

    pool.pool.living = Watched()
    with pool.connection() as conn:
        conn.execute("SELECT 1")
    assert alone == [True]
