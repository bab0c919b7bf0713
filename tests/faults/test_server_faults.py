"""The server or the way to it breaks: what a borrower gets, by when, and how the pool comes back by itself.

Each test runs on a bare pool and through Django's backend in session, transaction and statement mode. The error budget of
each is stated in it; where nothing is said the budget is zero failed queries.
"""

import logging
import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import psutil
import psycopg
import pytest
from psycopg import sql

from poolmgr.exceptions import AuthenticationFailed, CheckoutError, PoolExhausted, ServerDown, ServerFull
from poolmgr.targets.postgresql import cleaning
from poolsite.demo.servers import EmbeddedPostgres
from tests.faults.borrowers import LOST, Borrower
from tests.faults.conftest import MAX_CONNECTIONS
from tests.pools import backends, kill_backends, parameters
from tests.proxy import Proxy
from tests.threads import Begun
from tests.waiting import until

pytestmark = pytest.mark.faults

Borrow = Callable[..., Borrower]

#: Beyond its timeout a checkout may take this long: a scheduler's turn on a busy machine, not a network's.
GRACE = 1.0


@contextmanager
def stopped(server: EmbeddedPostgres) -> Iterator[None]:
    """Every process of the server is stopped in its tracks: the kernel still accepts and acknowledges."""
    postmaster = psutil.Process(server.pid)
    everybody = [postmaster, *postmaster.children(recursive=True)]
    for process in everybody:
        os.kill(process.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for process in everybody:
            os.kill(process.pid, signal.SIGCONT)


# -- connections that die while nobody uses them ------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["fast", "immediate"])
def test_a_restart_costs_idle_connections_and_no_query(
    borrow: Borrow, server: EmbeddedPostgres, proxy: Proxy, how: Any
) -> None:  # P7
    borrower = borrow(max_size=4)
    before = borrower.warm(4)
    server.restart(how)
    until(lambda: not proxy.carried, "the old sessions' end to arrive")
    began = time.monotonic()
    assert borrower.request() not in before
    # One connect, not a chain of back-offs.
    assert time.monotonic() - began < 1.0
    borrower.recovers()
    assert not before & set(borrower.pool.snapshot().backend_pids)


def test_killed_backends_cost_no_query(borrow: Borrow, proxy: Proxy) -> None:  # P7
    borrower = borrow(max_size=4)
    before = borrower.warm(4)
    kill_backends(borrower.direct)
    until(lambda: not proxy.carried, "the sessions' end to arrive")
    began = time.monotonic()
    assert borrower.request() not in before
    assert time.monotonic() - began < 1.0
    until(lambda: borrower.pool.snapshot().found_dead == 4, "one dead connection to give away the others")
    borrower.recovers()


def test_reset_connections_cost_no_query(borrow: Borrow, proxy: Proxy) -> None:  # P7
    borrower = borrow(max_size=4)
    before = borrower.warm(4)
    proxy.reset()
    until(lambda: not backends(borrower.direct) & before, "the sessions to end")
    assert borrower.request() not in before
    borrower.recovers()


def test_a_pool_with_a_floor_is_warm_again_before_anybody_asks(borrow: Borrow, server: EmbeddedPostgres) -> None:  # P7
    borrower = borrow(min_size=3, max_size=4)
    before = borrower.warm(3)
    server.restart("immediate")
    until(
        lambda: borrower.pool.snapshot().idle == 3 and not before & set(borrower.pool.snapshot().backend_pids),
        timeout=10,
    )
    created = borrower.pool.snapshot().created
    assert borrower.request() in borrower.pool.snapshot().backend_pids
    assert borrower.pool.snapshot().created == created
    borrower.recovers()


# -- connections that die in use ------------------------------------------------------------------------------------------


def test_a_backend_killed_in_mid_query_fails_that_query_only(borrow: Borrow) -> None:  # P4
    """Error budget: the one query."""
    borrower = borrow(max_size=3)
    before = borrower.warm(3)
    asking = Begun(lambda: borrower.request("SELECT pg_sleep(30)"))
    with psycopg.connect(borrower.direct, autocommit=True) as console:
        busy = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep%' AND state = 'active'"
        until(lambda: console.execute(busy).fetchall(), "the query to run")
    lost = asking.end(5)
    assert isinstance(lost, LOST)
    assert not isinstance(lost, CheckoutError)
    for _ in range(5):
        borrower.request()
    # The others were alive, so they stayed.
    assert len(before & set(borrower.pool.snapshot().backend_pids)) == 2
    borrower.recovers()


def test_a_restart_in_mid_transaction_fails_that_transaction_only(
    borrow: Borrow, server: EmbeddedPostgres, proxy: Proxy
) -> None:  # P4 P7
    """Error budget: the transactions under way; in statement mode, which has none, the cursors that are open."""
    borrower = borrow(max_size=3)
    borrower.warm(3)
    with pytest.raises(LOST), borrower.borrowed() as ask:
        ask("SELECT 1")
        server.restart("immediate")
        until(lambda: not proxy.carried, "the sessions' end to arrive")
        ask("SELECT 1")
    assert borrower.request("SELECT 5") == 5
    borrower.recovers()


def test_requests_that_come_while_the_server_restarts_wait_for_it(
    borrow: Borrow, server: EmbeddedPostgres, proxy: Proxy
) -> None:  # P7
    """Error budget: zero, since the server is back before their timeout."""
    borrower = borrow(max_size=3, connection_timeout=15)
    borrower.warm(3)
    server.stop("fast")
    until(lambda: not proxy.carried, "the sessions' end to arrive")
    waiting = [Begun(lambda: borrower.request("SELECT 5")) for _ in range(6)]
    until(lambda: borrower.pool.snapshot().pending == 6, "the requests to wait")
    until(lambda: borrower.pool.diagnose(), "a connect to fail")
    server._wanted_port = server.port
    server.start()
    up = time.monotonic()
    assert [each.end(15) for each in waiting] == [5] * 6
    assert time.monotonic() - up < 2.0
    borrower.recovers()


@pytest.mark.long
def test_a_server_that_stays_down_longer_than_reconnect_timeout_is_found_again(
    borrow: Borrow, proxy: Proxy
) -> None:  # P7
    """Error budget: zero, for requests with the patience to wait."""
    borrower = borrow(max_size=2, connection_timeout=20, reconnect_timeout=1)
    borrower.warm(2)
    proxy.refuse()
    proxy.reset()
    asking = Begun(lambda: borrower.request("SELECT 5"))
    began = time.monotonic()
    until(lambda: time.monotonic() - began > 3, timeout=5)
    proxy.accept()
    assert asking.end(3) == 5
    borrower.recovers()


def test_a_server_that_is_down_is_named_within_the_timeout(borrow: Borrow, proxy: Proxy) -> None:  # P8 P9
    borrower = borrow(connection_timeout=0.6)
    borrower.warm(3)
    proxy.refuse()
    proxy.reset()
    for _ in range(3):
        error = borrower.fails(ServerDown, 0.6 + GRACE, r"within 0\.6 s: nothing listens at the address")
        assert f"127.0.0.1:{proxy.port}/faults" in str(error)
    assert borrower.pool.diagnose() == "nothing listens at the address"
    proxy.accept()
    borrower.recovers()
    assert borrower.pool.diagnose() == ""


# -- silence --------------------------------------------------------------------------------------------------------------


def test_a_black_hole_costs_a_checkout_no_more_than_its_timeout(borrow: Borrow, proxy: Proxy) -> None:  # P8 P9
    borrower = borrow(max_size=3, connection_timeout=1.0, validation="query")
    borrower.warm(3)
    proxy.freeze()
    for _ in range(3):
        borrower.fails(ServerDown, 1.0 + GRACE, "does not answer")
    proxy.thaw()
    borrower.recovers()


def test_a_doubtful_connection_is_asked_before_it_is_handed_out(borrow: Borrow, proxy: Proxy) -> None:  # P7 P8
    borrower = borrow(max_size=3, connection_timeout=1.0, validate_after_idle=0.2)
    borrower.warm(3)
    proxy.freeze()
    until(lambda: all(time.monotonic() - conn.entry.idle_since > 0.2 for conn in list(borrower.pool.pool._pool)))
    borrower.fails(ServerDown, 1.0 + GRACE, "does not answer")
    # One that did not answer speaks for all that are as old.
    until(lambda: borrower.pool.snapshot().found_dead == 3)
    proxy.thaw()
    borrower.recovers()


def test_a_checkout_with_a_timeout_of_its_own_keeps_it(borrow: Borrow, proxy: Proxy) -> None:  # P8
    borrower = borrow(max_size=3, connection_timeout=30.0, validation="query")
    borrower.warm(3)
    proxy.freeze()
    for timeout in (0.2, 0.5):
        began = time.monotonic()
        with pytest.raises(ServerDown):
            borrower.pool.checkout(timeout)
        assert time.monotonic() - began < timeout + GRACE
    began = time.monotonic()
    assert borrower.pool.try_checkout() is None
    assert time.monotonic() - began < 0.05 + GRACE
    proxy.thaw()
    borrower.recovers(20)


def test_a_stopped_server_costs_a_checkout_no_more_than_its_timeout(
    borrow: Borrow, server: EmbeddedPostgres
) -> None:  # P8 P9
    borrower = borrow(max_size=3, connection_timeout=1.0, validation="query")
    before = borrower.warm(3)
    with stopped(server):
        borrower.fails(ServerDown, 1.0 + GRACE, "does not answer")
    borrower.recovers()
    assert not before & set(borrower.pool.snapshot().backend_pids)


def test_returning_to_a_silent_server_does_not_hang(  # P8
    borrow: Borrow, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cleaning, "PATIENCE", 0.4)
    borrower = borrow(max_size=3)
    clean, in_transaction, pinned = (borrower.pool.checkout() for _ in range(3))
    in_transaction.execute("BEGIN")
    pinned.entry.pins.add("SET")
    proxy.freeze()
    for conn, deadline in ((clean, 0.05), (pinned, 0.05), (in_transaction, 0.4)):
        began = time.monotonic()
        borrower.pool.give_back(conn)
        assert time.monotonic() - began < deadline + GRACE
    assert borrower.pool.snapshot().used == 0
    proxy.thaw()
    borrower.recovers()


def test_operations_on_a_pool_of_a_silent_server_keep_their_deadlines(borrow: Borrow, proxy: Proxy) -> None:  # P8
    borrower = borrow(min_size=2, max_size=3)
    borrower.warm(2)
    proxy.freeze()
    began = time.monotonic()
    borrower.pool.snapshot()
    borrower.pool.pause()
    borrower.pool.resume()
    borrower.change(max_size=1, min_size=1)
    borrower.change(max_size=4, min_size=4)
    assert time.monotonic() - began < GRACE
    proxy.thaw()
    borrower.recovers()


@pytest.mark.long
def test_closing_a_pool_of_a_silent_server_keeps_its_deadline(borrow: Borrow, proxy: Proxy) -> None:  # P8
    borrower = borrow(max_size=2, validation="query")
    borrower.warm(2)
    proxy.freeze()
    borrower.fails(ServerDown, 1.5 + GRACE)
    began = time.monotonic()
    borrower.pool.close(timeout=0.5)
    assert time.monotonic() - began < 4 * 0.5 + GRACE


def test_authentication_that_never_answers_costs_the_timeout(borrow: Borrow, proxy: Proxy) -> None:  # P8 P9
    borrower = borrow(connection_timeout=0.8)
    proxy.freeze()
    for _ in range(2):
        borrower.fails(ServerDown, 0.8 + GRACE, "does not answer")
    proxy.thaw()
    borrower.recovers()


def test_slow_authentication_costs_its_slowness(borrow: Borrow, proxy: Proxy) -> None:  # P8
    borrower = borrow(max_size=2, connection_timeout=5)
    proxy.delay = 0.7
    began = time.monotonic()
    assert borrower.request("SELECT 5") == 5
    assert 0.7 <= time.monotonic() - began < 0.7 + 1.0
    proxy.delay = 0
    borrower.recovers()


def test_an_address_where_nobody_speaks_costs_the_timeout(borrow: Borrow, server: EmbeddedPostgres) -> None:  # P8 P9
    with socket.socket() as mute:
        mute.bind(("127.0.0.1", 0))
        mute.listen()
        borrower = borrow(connection_timeout=0.8)
        port = borrower.given.get("port") or borrower.given["PORT"]
        borrower.connects_to(port=mute.getsockname()[1])
        borrower.fails(ServerDown, 0.8 + GRACE, "does not answer")
        borrower.connects_to(port=port)
    borrower.recovers()


def test_silence_with_connections_in_use_is_told_from_an_exhausted_pool(borrow: Borrow, proxy: Proxy) -> None:  # P9
    borrower = borrow(max_size=3, connection_timeout=0.8)
    held = borrower.pool.checkout()
    proxy.freeze()
    borrower.fails(ServerDown, 0.8 + GRACE, "does not answer")
    proxy.thaw()
    borrower.pool.give_back(held)
    borrower.recovers()
    everything = [borrower.pool.checkout() for _ in range(3)]
    borrower.fails(
        PoolExhausted, 0.8 + GRACE, r"pool exhausted \(3 in use, 0 idle, 0 opening of 3, . waiting\); held longest by"
    )
    for conn in everything:
        borrower.pool.give_back(conn)
    borrower.recovers()


def test_those_who_gave_up_waiting_no_longer_count_as_waiting(borrow: Borrow, proxy: Proxy) -> None:  # P9
    borrower = borrow(max_size=1, max_waiting=2, connection_timeout=0.2)
    held = borrower.pool.checkout()
    for _ in range(4):
        borrower.fails(PoolExhausted, 0.2 + GRACE, "pool exhausted")
    assert borrower.pool.snapshot().pending == 0
    borrower.pool.give_back(held)
    borrower.recovers()


# -- refusals -------------------------------------------------------------------------------------------------------------


def test_a_full_server_is_named_and_used_again_when_it_has_room(borrow: Borrow, server: EmbeddedPostgres) -> None:  # P9
    borrower = borrow(max_size=3, connection_timeout=0.8)
    with ExitStack() as others:
        console = others.enter_context(psycopg.connect(borrower.direct, autocommit=True))
        with pytest.raises(psycopg.OperationalError):
            for _ in range(MAX_CONNECTIONS):
                others.enter_context(psycopg.connect(server.url("faults"), connect_timeout=5))
        assert console.execute("SELECT 1").fetchone() == (1,)
        borrower.fails(ServerFull, 0.8 + GRACE, "the server has no connection slot left")
        assert borrower.pool.diagnose() == "the server has no connection slot left"
    borrower.recovers()


def test_a_server_that_fills_up_leaves_the_pool_what_it_has(borrow: Borrow, server: EmbeddedPostgres) -> None:  # P9
    """Error budget: what exceeds the connections that the pool could get."""
    borrower = borrow(max_size=3, connection_timeout=0.8)
    kept = borrower.warm(1)
    with ExitStack() as others:
        with pytest.raises(psycopg.OperationalError):
            for _ in range(MAX_CONNECTIONS):
                others.enter_context(psycopg.connect(server.url("faults"), connect_timeout=5))
        for _ in range(3):
            assert borrower.request() in kept
        with borrower.pool.connection():
            borrower.fails(ServerFull, 0.8 + GRACE, "the server has no connection slot left")
    borrower.recovers()


@pytest.fixture
def member(server: EmbeddedPostgres) -> Callable[[str], None]:
    """A role whose password a test may change."""

    def identify(password: str) -> None:
        with psycopg.connect(server.superuser_url("faults"), autocommit=True) as console:
            if not console.execute("SELECT 1 FROM pg_roles WHERE rolname = 'member'").fetchone():
                console.execute("CREATE ROLE member LOGIN")
            console.execute(sql.SQL("ALTER ROLE member PASSWORD {}").format(sql.Literal(password)))

    return identify


def test_a_changed_password_is_named_at_once_and_a_rotated_one_is_used(  # P9 P13
    borrow: Borrow,
    server: EmbeddedPostgres,
    proxy: Proxy,
    member: Callable[[str], None],
    caplog: pytest.LogCaptureFixture,
) -> None:
    member("first-secret")
    borrower = borrow(
        max_size=2, connection_timeout=5, url=f"postgresql://member:first-secret@127.0.0.1:{proxy.port}/faults"
    )
    old = borrower.warm(1)
    member("second-secret")
    # What is connected stays connected.
    assert borrower.request() in old
    kill_backends(borrower.direct)
    until(lambda: not backends(borrower.direct) & old)
    until(lambda: not proxy.carried, "the sessions' end to arrive")
    # Nobody waits out a timeout for a refusal that no waiting will change.
    error = borrower.fails(AuthenticationFailed, 2.0, "the server refuses the password")
    assert "secret" not in f"{error!r} {error.__cause__!r}"
    borrower.connects_to(password="second-secret")
    borrower.recovers()
    assert "secret" not in caplog.text


def test_a_password_rotated_before_the_old_one_ends_costs_no_query(  # P7
    borrow: Borrow, proxy: Proxy, member: Callable[[str], None]
) -> None:
    member("first-secret")
    borrower = borrow(max_size=2, url=f"postgresql://member:first-secret@127.0.0.1:{proxy.port}/faults")
    old = borrower.warm(2)
    member("second-secret")
    borrower.connects_to(password="second-secret")
    kill_backends(borrower.direct)
    until(lambda: not backends(borrower.direct) & old)
    until(lambda: not proxy.carried, "the sessions' end to arrive")
    assert borrower.request() not in old
    borrower.recovers()


def test_a_name_that_stops_resolving_is_named_and_found_again(borrow: Borrow, proxy: Proxy) -> None:  # P8 P9
    """Error budget: zero for what is connected; new connects fail for as long as the name does."""
    borrower = borrow(max_size=2, connection_timeout=0.8)
    old = borrower.warm(1)
    borrower.connects_to(host="nowhere.invalid")
    assert borrower.request() in old
    kill_backends(borrower.direct)
    until(lambda: not backends(borrower.direct) & old)
    until(lambda: not proxy.carried, "the sessions' end to arrive")
    borrower.fails(ServerDown, 0.8 + GRACE, "the host name can't be resolved")
    borrower.connects_to(host="127.0.0.1")
    borrower.recovers()


def test_the_last_connect_error_leads_to_the_cause(borrow: Borrow, proxy: Proxy) -> None:  # P9 P13
    borrower = borrow(connection_timeout=0.6)
    proxy.refuse()
    error = borrower.fails(ServerDown, 0.6 + GRACE)
    assert isinstance(error.__cause__, psycopg.OperationalError)
    proxy.accept()
    assert parameters(borrower.direct)["password"] not in repr(borrower.pool)
    borrower.recovers()


@pytest.mark.long
def test_an_outage_is_a_line_in_the_log_when_it_begins_and_one_when_it_is_over(
    borrow: Borrow, proxy: Proxy, caplog: pytest.LogCaptureFixture
) -> None:
    borrower = borrow(min_size=2, max_size=3, connection_timeout=1)
    borrower.warm(2)
    caplog.clear()
    proxy.refuse()
    proxy.reset()
    for _ in range(3):
        borrower.fails(ServerDown, 1 + GRACE, "nothing listens")
    assert borrower.pool.snapshot().create_errors > 5
    proxy.accept()
    borrower.recovers()

    def told() -> list[str]:
        return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]

    until(lambda: "failed tries" in told()[-1], "the end to be told")
    assert len(told()) == 2, told()
    assert "no connection to 127.0.0.1" in told()[0]
