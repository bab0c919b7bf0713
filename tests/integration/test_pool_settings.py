"""Each setting of a profile has its effect on a live pool, at once."""

import logging
import os
import socket
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from time import monotonic
from typing import Any

import psycopg
import pytest

from poolmgr.exceptions import PoolExhausted, TooManyWaiting
from poolmgr.pools.allowance import NOTHING, Allowance
from poolmgr.pools.plan import Action
from poolmgr.targets.postgresql.managed import ManagedPool
from poolmgr.targets.postgresql.work import in_worker
from tests.pools import LOCKS, backends, change, give_back, hold, wait_in_thread
from tests.threads import under_load
from tests.waiting import until

MakePool = Callable[..., ManagedPool]


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such options, or by other names")
def test_a_host_that_falls_silent_is_believed_for_seconds_alone(make_pool: MakePool) -> None:  # P8
    with make_pool(max_size=1).connection() as conn, socket.socket(fileno=os.dup(conn.fileno())) as connected:
        told = [
            connected.getsockopt(socket.IPPROTO_TCP, option)
            for option in (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT, socket.TCP_USER_TIMEOUT)
        ]
    assert told == [30, 5, 3, 20_000]


def test_min_size_is_kept_warm_and_raised_live(make_pool: MakePool) -> None:  # P5
    pool = make_pool(min_size=2, max_size=5)
    until(lambda: pool.snapshot().idle == 2)
    assert change(pool, min_size=4) is Action.RESIZE
    until(lambda: pool.snapshot().idle == 4)


def test_max_size_bounds_the_server_connections(make_pool: MakePool, pool_url: str) -> None:  # P6
    pool = make_pool(max_size=3)
    held = hold(pool, 3)
    with pytest.raises(PoolExhausted):
        pool.checkout(timeout=0.1)
    assert len(backends(pool_url)) == 3
    give_back(pool, held)


def test_raising_max_size_serves_those_who_wait_already(make_pool: MakePool) -> None:  # P5
    pool = make_pool(max_size=1)
    held = hold(pool, 1)
    results: list[Any] = []
    threads = [wait_in_thread(pool, results) for _ in range(2)]
    change(pool, max_size=3)
    for thread in threads:
        thread.join()
    assert all(isinstance(each, psycopg.Connection) for each in results)
    give_back(pool, held + results)


def test_lowering_max_size_closes_idle_connections_now_and_used_ones_as_they_return(  # P5
    make_pool: MakePool, pool_url: str
) -> None:
    pool = make_pool(max_size=6)
    held = hold(pool, 6)
    give_back(pool, held[:3])
    change(pool, max_size=2)
    assert pool.snapshot().idle == 0
    until(lambda: len(backends(pool_url)) == 3)
    give_back(pool, held[3:])
    until(lambda: len(backends(pool_url)) == 2)
    until(lambda: pool.snapshot().size == 2)  # their places are free when the pool has heard them go


def test_raising_min_size_never_opens_more_than_max_size(make_pool: MakePool) -> None:  # P6
    pool = make_pool(min_size=0, max_size=4)
    held = hold(pool, 4)
    change(pool, min_size=4)
    assert pool.snapshot().size == 4
    give_back(pool, held)
    assert pool.snapshot().size == 4


def test_connection_timeout_is_the_wait_before_pool_exhausted(make_pool: MakePool) -> None:  # P8 P9
    pool = make_pool(max_size=1, connection_timeout=20)
    held = hold(pool, 1)
    change(pool, connection_timeout=0.2)
    began = monotonic()
    with pytest.raises(
        PoolExhausted, match=r"within 0\.2 s: pool exhausted \(1 in use, 0 idle, .* held longest by MainThread"
    ):
        pool.checkout()
    assert 0.15 < monotonic() - began < 5
    give_back(pool, held)


def test_max_waiting_refuses_at_once_beyond_it(make_pool: MakePool) -> None:  # P9
    pool = make_pool(max_size=1)
    held = hold(pool, 1)
    change(pool, max_waiting=1)
    results: list[Any] = []
    thread = wait_in_thread(pool, results)
    with pytest.raises(TooManyWaiting, match="1 requests wait already"):
        pool.checkout(timeout=30)
    give_back(pool, held)
    thread.join()
    give_back(pool, results)


def test_idle_timeout_closes_what_is_unused_down_to_min_size(make_pool: MakePool, pool_url: str) -> None:
    pool = make_pool(min_size=1, max_size=5)
    give_back(pool, hold(pool, 5))
    assert pool.snapshot().idle == 5
    change(pool, idle_timeout=0.2)
    until(lambda: len(backends(pool_url)) == 1)
    assert pool.snapshot().idle == 1


def test_light_traffic_keeps_only_the_connection_used_last(make_pool: MakePool) -> None:
    pool = make_pool(max_size=4)
    give_back(pool, hold(pool, 4))
    used = set()
    for _ in range(8):
        with pool.connection() as conn:
            used.add(conn.info.backend_pid)
    assert len(used) == 1


def test_max_lifetime_replaces_connections_that_got_old(make_pool: MakePool, pool_url: str) -> None:
    pool = make_pool(min_size=2, max_size=3, max_lifetime=1.0)
    until(lambda: pool.snapshot().idle == 2)
    first = backends(pool_url)
    until(lambda: not first & backends(pool_url), timeout=20)
    until(lambda: pool.snapshot().idle == 2)


def test_a_shorter_max_lifetime_is_of_the_connections_that_there_are(make_pool: MakePool, pool_url: str) -> None:  # P5
    pool = make_pool(min_size=2, max_size=3, max_lifetime=3600)
    until(lambda: pool.snapshot().idle == 2)
    held = hold(pool, 1)
    first = backends(pool_url)
    change(pool, max_lifetime=0.2)
    until(lambda: len(first & backends(pool_url)) == 1)
    give_back(pool, held)
    until(lambda: not first & backends(pool_url))
    change(pool, max_lifetime=0)
    with pool.connection() as conn:
        assert conn.entry.expires > monotonic() + 86_400


def test_max_lifetime_zero_keeps_connections(make_pool: MakePool) -> None:
    pool = make_pool(max_lifetime=0)
    with pool.connection() as conn:
        assert conn.entry.expires > monotonic() + 86_400


def test_validation_query_runs_at_every_checkout_in_mode_query(make_pool: MakePool, pool_url: str) -> None:
    pool = make_pool(max_size=1, validation="query", validation_query="SELECT 41 + 1")
    with pool.connection() as conn:
        pid = conn.info.backend_pid
    with pool.connection() as conn:
        assert conn.info.backend_pid == pid
        with psycopg.connect(pool_url) as other:
            row = other.execute("SELECT query FROM pg_stat_activity WHERE pid = %s", [pid]).fetchone()
    assert row is not None
    assert "SELECT 41 + 1" in row[0]


def test_a_validation_query_changes_nothing(make_pool: MakePool, pool_url: str) -> None:  # P2
    with psycopg.connect(pool_url, autocommit=True) as other:
        other.execute("CREATE TABLE visits (at int)")
        other.execute(
            "CREATE FUNCTION visit() RETURNS int LANGUAGE sql AS 'INSERT INTO visits VALUES (1) RETURNING at'"
        )
        other.execute(
            "CREATE FUNCTION mark() RETURNS text LANGUAGE plpgsql AS"
            " 'BEGIN PERFORM pg_advisory_lock(4242); RETURN set_config(''test.mark'', ''left'', false); END'"
        )
    pool = make_pool(max_size=1, validation="query", validation_query="SELECT mark() -- whatever it was made for")
    with pool.connection():
        pass
    with pool.connection() as conn:
        assert conn.execute("SELECT coalesce(current_setting('test.mark', true), '')").fetchone() == ("",)
        assert conn.execute(LOCKS).fetchone() == (0,)
    change(pool, validation_query="SELECT visit()")
    with pool.connection() as conn:
        assert conn.execute("SELECT count(*) FROM visits").fetchone() == (0,)


def test_what_a_validation_query_reads_is_not_logged(  # P13
    make_pool: MakePool, pool_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    with psycopg.connect(pool_url, autocommit=True) as other:
        other.execute("CREATE TABLE customers AS SELECT 'jane-the-secret' AS name")
    pool = make_pool(max_size=1)
    with pool.connection():
        pass
    with caplog.at_level(logging.DEBUG):
        change(pool, validation="query", validation_query="SELECT name::int FROM customers")
        for _ in range(2):
            with pool.connection():
                pass
    assert "InvalidTextRepresentation" in caplog.text
    assert "jane-the-secret" not in caplog.text


def test_a_connection_that_fails_the_validation_query_is_replaced(make_pool: MakePool) -> None:  # P7
    pool = make_pool(max_size=1)
    with pool.connection() as conn:
        pid = conn.info.backend_pid
        conn.execute("SET test.mark = 'old'")
    query = "SELECT 1 / (CASE current_setting('test.mark', true) WHEN 'old' THEN 0 ELSE 1 END)"
    change(pool, validation="query", validation_query=query)
    with pool.connection() as conn:
        assert conn.info.backend_pid != pid
    assert pool.snapshot().found_dead == 1


def test_a_validation_query_that_no_connection_passes_is_reported_and_costs_no_connects(
    make_pool: MakePool, caplog: pytest.LogCaptureFixture
) -> None:  # P5
    pool = make_pool(max_size=1)
    with pool.connection():
        pass
    change(pool, validation="query", validation_query="SELECT a FROM no_such_table")
    for _ in range(5):
        with pool.connection() as conn:
            conn.execute("SELECT 1")
    assert pool.snapshot().created == 2
    assert "fails on a fresh connection" in caplog.text


def test_validate_after_idle_asks_a_connection_that_was_unused_for_long(  # P7
    make_pool: MakePool, pool_url: str
) -> None:
    pool = make_pool(max_size=1, validate_after_idle=0.1)
    with pool.connection() as conn:
        conn.execute("SELECT 'mine'")
        pid, entry = conn.info.backend_pid, conn.entry
    until(lambda: monotonic() - entry.idle_since > 0.1)
    with pool.connection(), psycopg.connect(pool_url) as other:
        row = other.execute("SELECT query FROM pg_stat_activity WHERE pid = %s", [pid]).fetchone()
    assert row == ("SELECT 1",)


def test_validation_off_hands_out_a_dead_connection_as_it_says(make_pool: MakePool, pool_url: str) -> None:
    pool = make_pool(max_size=1, validation="off")
    with pool.connection() as conn:
        pid = conn.info.backend_pid
    with psycopg.connect(pool_url, autocommit=True) as other:
        other.execute("SELECT pg_terminate_backend(%s, 5000)", [pid])
    conn = pool.checkout()
    with pytest.raises(psycopg.OperationalError):
        conn.execute("SELECT 1")
    pool.give_back(conn)


def test_keepalive_interval_asks_idle_connections(make_pool: MakePool, pool_url: str) -> None:
    pool = make_pool(max_size=1, keepalive_interval=0.2, validation_query="SELECT 'alive'")
    with pool.connection() as conn:
        pid = conn.info.backend_pid

    def last_query() -> str:
        with psycopg.connect(pool_url) as other:
            row = other.execute("SELECT query FROM pg_stat_activity WHERE pid = %s", [pid]).fetchone()
        return str(row[0]) if row else ""

    until(lambda: "SELECT 'alive'" in last_query())
    assert pool.snapshot().idle == 1


def test_every_idle_connection_is_kept_alive_in_time(make_pool: MakePool) -> None:
    pool = make_pool(min_size=6, max_size=6, keepalive_interval=0.5)
    until(lambda: pool.snapshot().idle == 6)
    began = monotonic()
    until(lambda: [conn.entry.asked_at > began for conn in pool.pool.living] == [True] * 6)


def test_a_wrong_query_costs_idle_connections_no_connects(
    make_pool: MakePool, caplog: pytest.LogCaptureFixture
) -> None:  # P5
    with caplog.at_level(logging.INFO, "poolmgr.pool"):
        pool = make_pool(min_size=2, max_size=2, keepalive_interval=0.1, validation_query="SELECT a FROM no_such_table")
        until(lambda: "fails on a fresh connection" in caplog.text)
        began = monotonic()
        until(lambda: [conn.entry.asked_at > began for conn in pool.pool.living] == [True] * 2)
    assert pool.snapshot().created == 2


def test_leak_threshold_logs_the_holder_once_with_its_stack(
    make_pool: MakePool, caplog: pytest.LogCaptureFixture
) -> None:  # P4
    pool = make_pool(leak_threshold=0.2)
    with caplog.at_level(logging.WARNING, "poolmgr.pool"), pool.connection():
        until(lambda: "has held connection" in caplog.text)
        text = caplog.text
        assert pool.snapshot().leaks == 1
    assert "MainThread has held connection" in text
    assert "test_leak_threshold_logs_the_holder_once" in text


def test_reconnect_timeout_and_lifetimes_reach_the_pool_in_place(make_pool: MakePool) -> None:
    pool = make_pool()
    inner = pool.pool
    assert change(pool, reconnect_timeout=12, max_lifetime=99, max_waiting=3, connection_timeout=4) is Action.TUNE
    assert pool.pool is inner
    assert (inner.reconnect_timeout, inner.max_lifetime, inner.max_waiting, inner.timeout) == (12, 99, 3, 4)


def test_a_lease_caps_the_pool_whatever_the_profile_says(make_pool: MakePool) -> None:  # P6
    pool = make_pool(min_size=2, max_size=8)
    pool.limit(Allowance(1))
    until(lambda: pool.snapshot().size == 1)
    held = hold(pool, 1)
    with pytest.raises(PoolExhausted):
        pool.checkout(timeout=0.1)
    change(pool, max_size=9)
    assert pool.snapshot().limit == 1
    pool.limit(None)
    held += hold(pool, 8)
    give_back(pool, held)


def test_pool_without_a_lease_has_its_requests_wait_for_one(make_pool: MakePool, pool_url: str) -> None:  # P6 P9
    pool = make_pool(min_size=2, max_size=8, budget=8)
    pool.limit(NOTHING)
    until(lambda: not backends(pool_url))
    with pytest.raises(PoolExhausted, match="the fleet's budget of 8 has left this process no connection"):
        pool.checkout(timeout=0.1)
    results: list[Any] = []
    waiting = wait_in_thread(pool, results)
    pool.limit(Allowance(1))
    waiting.join(5)
    give_back(pool, results)


def test_lease_that_lapses_closes_what_is_idle_and_breaks_off_the_rest(
    make_pool: MakePool, pool_url: str, caplog: pytest.LogCaptureFixture
) -> None:  # P6
    pool = make_pool(min_size=0, max_size=8, budget=8)
    held = hold(pool, 3)
    give_back(pool, [held.pop()])
    now = monotonic()
    pool.limit(Allowance(3, lapses=now + 0.3, ends=now + 1.0))
    until(lambda: len(backends(pool_url)) == 2, "the idle one to go")
    assert monotonic() < now + 1.0
    give_back(pool, [held.pop()])
    until(lambda: len(backends(pool_url)) == 1, "what comes back to go")
    until(lambda: not backends(pool_url), "what is in use to go", 5)
    # Told again while the borrower still has it, as by an agent that can't reach the ledger.
    pool.limit(Allowance(0, lapses=now, ends=monotonic() + 0.05))
    until(lambda: not pool.watched)
    assert caplog.text.count("is broken off") == 1
    with pytest.raises(psycopg.OperationalError):
        held[0].execute("SELECT 1")
    give_back(pool, held)
    pool.limit(Allowance(2))
    give_back(pool, hold(pool, 2))


def test_lease_that_is_over_serves_nobody_even_before_anything_looked_at_the_clock(  # P6
    make_pool: MakePool, pool_url: str
) -> None:
    pool = make_pool(min_size=0, max_size=8, budget=8)
    give_back(pool, hold(pool, 3))
    # As in a process that was frozen: no thread of the pool's has run since.
    pool.allow(Allowance(3, monotonic() - 1, monotonic() + 9))
    with pytest.raises(PoolExhausted):
        pool.checkout(timeout=0.1)
    until(lambda: not backends(pool_url))


def test_settings_are_applied_without_replacing_a_connection_or_failing_a_query(  # P5
    make_pool: MakePool, pool_url: str
) -> None:
    pool = make_pool(min_size=4, max_size=4)
    until(lambda: pool.snapshot().idle == 4)
    before = backends(pool_url)

    def use() -> None:
        with pool.connection() as conn:
            conn.execute("SELECT 1")

    with under_load(*[use] * 8) as errors:
        for number in range(40):
            change(pool, max_size=4 + number // 10, connection_timeout=5.0 + number, max_waiting=100 + number)
    assert errors == []
    assert before <= backends(pool_url)


def test_equal_settings_do_nothing(make_pool: MakePool) -> None:
    pool = make_pool()
    assert pool.apply(replace(pool.desired, revision=7)).action is Action.KEEP
    assert pool.snapshot().revision == 7


def test_what_is_used_beyond_a_lease_is_broken_off_though_every_worker_of_the_pool_is_busy(  # P6
    make_pool: MakePool,
) -> None:
    free, busy = threading.Event(), threading.Semaphore(0)

    def work() -> None:
        busy.release()
        free.wait(20)

    pool = make_pool(max_size=1)
    held = pool.checkout()
    try:
        for _ in range(pool.pool.num_workers):
            in_worker(pool.pool, work)
            assert busy.acquire(timeout=10)
        now = monotonic()
        pool.limit(Allowance(1, lapses=now, ends=now + 0.1))
        with pytest.raises(psycopg.OperationalError):
            held.execute("SELECT pg_sleep(8)")
    finally:
        free.set()
    pool.give_back(held)
