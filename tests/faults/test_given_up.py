"""What becomes of a connection that the pool gives up: what runs on it is cancelled, and its place waits for the server.

An independent session samples the server while it happens: at no instant has it more of the pool's sessions than max_size.
"""

import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from time import monotonic
from typing import Any

import psycopg
import pytest

from poolmgr.exceptions import CheckoutError, ServerDown
from poolmgr.pools.allowance import Allowance
from poolmgr.targets.postgresql import liveness
from poolmgr.targets.postgresql.managed import ManagedPool
from poolsite.demo.servers import EmbeddedPostgres
from tests.faults.borrowers import Borrower
from tests.pools import backends, give_back, hold, managed_pool, wait_in_thread
from tests.proxy import Proxy
from tests.waiting import until

pytestmark = pytest.mark.faults


class Watcher:
    """Samples the server every millisecond or so; ``most`` is the largest number of the pool's sessions at any instant."""

    _SESSIONS = (
        "SELECT pid, query, coalesce(state = 'active', false) FROM pg_stat_activity"
        " WHERE datname = 'faults' AND usename = %s AND backend_type = 'client backend'"
    )

    def __init__(self, url: str, user: str) -> None:
        self._user = user
        self._session = psycopg.connect(url, autocommit=True)
        self._stop = threading.Event()
        self.most = self.samples = 0
        self._seen: list[tuple[int, str, bool]] = []
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()

    def _watch(self) -> None:
        while not self._stop.wait(0.001):
            self._seen = self._session.execute(self._SESSIONS, [self._user]).fetchall()
            self.most = max(self.most, len(self._seen))
            self.samples += 1

    @property
    def now(self) -> list[tuple[int, str, bool]]:
        """The sessions by a look that began after this was asked for."""
        two_more = self.samples + 2
        until(lambda: self.samples >= two_more, "a look at the sessions")
        return self._seen

    def runs(self, words: str) -> int:
        """How many of the sessions run a statement with these words now."""
        return sum(active and words in query for _, query, active in self.now)

    def close(self) -> None:
        self._stop.set()
        self._thread.join()
        self._session.close()


@pytest.fixture
def watcher(server: EmbeddedPostgres) -> Iterator[Watcher]:
    user = psycopg.conninfo.conninfo_to_dict(server.url("faults"))["user"]
    watcher = Watcher(server.superuser_url(), str(user))
    until(lambda: not watcher.now, "the sessions of the test before to end")
    watcher.most = 0
    yield watcher
    watcher.close()


@pytest.fixture
def make_pool(server: EmbeddedPostgres) -> Iterator[Callable[..., ManagedPool]]:
    made: list[ManagedPool] = []

    def make(**settings: Any) -> ManagedPool:
        made.append(managed_pool(server.url("faults"), **settings))
        return made[-1]

    yield make
    for pool in made:
        pool.close()


@pytest.fixture
def migrating(server: EmbeddedPostgres) -> Callable[[], Any]:
    """A table, and a context in which a migration has locked it."""
    with psycopg.connect(server.superuser_url("faults"), autocommit=True) as console:
        console.execute("CREATE TABLE IF NOT EXISTS looked_at (id int)")
        console.execute("GRANT SELECT ON looked_at TO PUBLIC")

    @contextmanager
    def locked() -> Iterator[None]:
        with psycopg.connect(server.superuser_url("faults")) as migration:
            migration.execute("LOCK TABLE looked_at IN ACCESS EXCLUSIVE MODE")
            yield
            migration.rollback()

    return locked


LOOKS = "SELECT count(*) FROM looked_at"


def knock(pool: ManagedPool, times: int, timeout: float) -> list[Any]:
    """What so many requests in each of three threads got."""
    got: list[Any] = []

    def ask() -> None:
        for _ in range(times):
            try:
                with pool.connection(timeout) as conn:
                    got.append(conn.info.backend_pid)
            except CheckoutError as ex:
                got.append(ex)

    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return got


@pytest.mark.long
def test_a_validation_query_that_waits_leaves_no_session_behind(  # P6
    make_pool: Callable[..., ManagedPool], watcher: Watcher, migrating: Any
) -> None:
    # Of whose timeout the server has a part to end a session: the borrowers have less.
    pool = make_pool(max_size=3, validation="query", validation_query=LOOKS, connection_timeout=20)
    knock(pool, 1, 2)
    with migrating():
        got = knock(pool, 5, 0.6)
        assert all(isinstance(each, CheckoutError) for each in got)
        # With the lock still there.
        until(lambda: watcher.runs("looked_at") == 0, "the queries to be cancelled")
    assert watcher.most <= 3
    assert [each for each in knock(pool, 2, 5) if isinstance(each, CheckoutError)] == []
    assert watcher.most <= 3
    assert pool.snapshot().left_behind == 0


@pytest.mark.long
def test_a_keepalive_that_waits_leaves_no_session_behind(  # P6
    make_pool: Callable[..., ManagedPool], watcher: Watcher, migrating: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("poolmgr.targets.postgresql.housekeeping.PATIENCE", 0.3)
    pool = make_pool(min_size=3, max_size=3, validation_query=LOOKS, keepalive_interval=0.2)
    until(lambda: len(watcher.now) == 3)
    with migrating():
        until(lambda: pool.snapshot().found_dead >= 6, "the keepalives to give up", 20)
    until(lambda: pool.snapshot().idle == 3, "the pool to be whole")
    assert watcher.most <= 3


@pytest.mark.parametrize("size", [2, 3])
def test_a_recycle_never_has_two_sessions_in_one_place(  # P6
    make_pool: Callable[..., ManagedPool], watcher: Watcher, size: int
) -> None:
    pool = make_pool(min_size=2, max_size=size)
    until(lambda: len(watcher.now) == 2)
    for _ in range(20):
        assert pool.recycle(timeout=10).remaining == 0
    assert watcher.most <= size


def test_what_a_recycle_takes_out_of_a_statement_is_cancelled(  # P6
    make_pool: Callable[..., ManagedPool], watcher: Watcher
) -> None:
    pool = make_pool(max_size=2)
    for conn in (held := hold(pool, 2)):
        conn.pgconn.send_query(b"SELECT pg_sleep(60)")
    until(lambda: watcher.runs("pg_sleep") == 2)
    done: list[Any] = []
    thread = threading.Thread(target=lambda: done.append(pool.recycle(timeout=20)))
    thread.start()
    until(lambda: held[0].entry.generation < pool.pool.generation, "the recycle to begin")
    give_back(pool, held)
    thread.join()
    assert done[0].remaining == 0
    assert watcher.runs("pg_sleep") == 0
    assert watcher.most <= 2
    assert pool.snapshot().left_behind == 0


def test_a_statement_of_a_thread_that_died_is_cancelled(  # P4 P6
    make_pool: Callable[..., ManagedPool], watcher: Watcher
) -> None:
    pool = make_pool(max_size=1, connection_timeout=8)
    kept: list[Any] = []

    def die() -> None:
        conn = pool.checkout()
        kept.append(conn)
        conn.pgconn.send_query(b"SELECT pg_sleep(60)")

    thread = threading.Thread(target=die)
    thread.start()
    thread.join()
    until(lambda: watcher.runs("pg_sleep") == 1)
    with pool.connection() as conn:
        assert conn.info.backend_pid != kept[0].entry.pid
        assert watcher.runs("pg_sleep") == 0
    assert watcher.most == 1


def lease(pool: ManagedPool, lapses: float, ends: float) -> None:
    now = monotonic()
    pool.limit(Allowance(2, lapses=now + lapses, ends=now + ends))


@pytest.mark.long
def test_a_connect_that_is_under_way_when_the_lease_ends_comes_to_nothing(  # P6
    server: EmbeddedPostgres, proxy: Proxy, watcher: Watcher
) -> None:
    proxy.delay = 3.0  # as a host that is slow to answer
    url = server.url("faults").replace(f":{server.port}/", f":{proxy.port}/")
    pool = managed_pool(url, max_size=2, connection_timeout=30)
    try:
        lease(pool, 0.3, 0.6)
        waiter = threading.Thread(target=knock, args=[pool, 1, 5])
        waiter.start()
        until(lambda: proxy.accepted)
        until(lambda: not proxy.carried)
        waiter.join()
        assert watcher.most == 0
        assert proxy.accepted == 1
    finally:
        pool.close()


@pytest.mark.long
def test_what_is_prepared_when_the_lease_ends_is_broken_off(  # P6
    server: EmbeddedPostgres, watcher: Watcher
) -> None:
    hooked = threading.Event()

    def hook(conn: Any) -> None:
        hooked.set()
        conn.execute("SELECT pg_sleep(60)")

    pool = managed_pool(server.url("faults"), configure=hook, max_size=2, connection_timeout=30)
    try:
        lease(pool, 0.5, 1.0)
        waiter = threading.Thread(target=knock, args=[pool, 1, 3])
        waiter.start()
        hooked.wait()
        until(lambda: watcher.runs("pg_sleep") == 1)
        until(lambda: not watcher.now, "the session to end")
        waiter.join()
        assert not watcher.now
    finally:
        pool.close()


def test_what_is_said_in_the_moment_in_which_a_connection_is_broken_off_is_cancelled(  # P6
    make_pool: Callable[..., ManagedPool], watcher: Watcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = make_pool(max_size=2)
    conn, hang_up, said = pool.checkout(), liveness.hang_up, threading.Event()

    def a_moment_too_late(fileno: int) -> None:
        conn.pgconn.send_query(b"SELECT pg_sleep(60)")
        until(lambda: watcher.runs("pg_sleep") == 1)
        said.set()
        hang_up(fileno)

    monkeypatch.setattr(liveness, "hang_up", a_moment_too_late)
    lease(pool, 0.1, 0.2)
    assert said.wait(10)
    until(lambda: watcher.runs("pg_sleep") == 0, "what was said to be cancelled")
    pool.give_back(conn)


def test_what_comes_back_in_mid_statement_is_cancelled_also_in_a_closed_pool(  # P6
    make_pool: Callable[..., ManagedPool], watcher: Watcher
) -> None:
    pool = make_pool(max_size=3)
    for conn in (held := hold(pool, 3)):
        conn.pgconn.send_query(b"SELECT pg_sleep(60)")
    until(lambda: watcher.runs("pg_sleep") == 3)
    pool.give_back(held[0])
    until(lambda: watcher.runs("pg_sleep") == 2, "the statement to be cancelled")
    pool.close()
    for conn in held[1:]:
        pool.give_back(conn)
    until(lambda: not watcher.now, "the sessions to end")
    assert watcher.most <= 3


def test_statements_in_line_behind_the_one_that_was_cancelled_are_cancelled_too(
    make_pool: Callable[..., ManagedPool], watcher: Watcher
) -> None:
    pool = make_pool(max_size=1, connection_timeout=30)
    conn = pool.checkout()
    conn.pgconn.enter_pipeline_mode()
    for seconds in (41, 42):
        conn.pgconn.send_query_params(f"SELECT pg_sleep({seconds})".encode(), None)
        conn.pgconn.pipeline_sync()
    conn.pgconn.flush()
    until(lambda: watcher.runs("pg_sleep(41)") == 1)
    pool.give_back(conn)
    until(lambda: not watcher.now, "the session to end")


@pytest.mark.long
def test_a_copy_that_was_abandoned_ends(make_pool: Callable[..., ManagedPool], watcher: Watcher) -> None:
    pool = make_pool(max_size=2)
    reading, writing = hold(pool, 2)
    writing.execute("CREATE TEMP TABLE filled (id int)")
    writing.pgconn.exec_(b"COPY filled FROM STDIN")
    # More than the sockets' buffers take: the server stands still in the middle of it.
    reading.pgconn.exec_(b"COPY (SELECT repeat('x', 1000) FROM generate_series(1, 100000)) TO STDOUT")
    until(lambda: watcher.runs("COPY") == 2)
    for conn in (reading, writing):
        pool.give_back(conn)
    until(lambda: not watcher.now, "the sessions to end")
    assert pool.snapshot().left_behind == 0


@pytest.fixture
def login_that_looks(server: EmbeddedPostgres, migrating: Any) -> Iterator[None]:
    """Whoever connects is let in when a look at the table is done."""
    with psycopg.connect(server.superuser_url("faults"), autocommit=True) as console:
        console.execute(
            "CREATE FUNCTION look_at_login() RETURNS event_trigger LANGUAGE plpgsql AS"
            " $$ BEGIN IF NOT (SELECT rolsuper FROM pg_roles WHERE rolname = session_user)"
            " THEN PERFORM count(*) FROM looked_at; END IF; END $$"
        )
        console.execute("CREATE EVENT TRIGGER looks ON login EXECUTE FUNCTION look_at_login()")
        console.execute("ALTER EVENT TRIGGER looks ENABLE ALWAYS")
        yield
        console.execute("DROP EVENT TRIGGER looks")
        console.execute("DROP FUNCTION look_at_login")


@pytest.mark.long
def test_a_login_that_waits_leaves_no_session_behind(  # P6 P8
    make_pool: Callable[..., ManagedPool], watcher: Watcher, migrating: Any, login_that_looks: None
) -> None:
    pool = make_pool(max_size=2, connection_timeout=20)
    pool.given["connect_timeout"] = 2  # type: ignore[attr-defined]
    with migrating():
        got = knock(pool, 4, 1.5)
        assert all(isinstance(each, CheckoutError) for each in got)
        assert pool.snapshot().create_errors >= 1
    assert watcher.most <= 2
    assert [each for each in knock(pool, 2, 10) if isinstance(each, CheckoutError)] == []
    assert watcher.most <= 2
    assert pool.snapshot().left_behind == 0


@pytest.mark.parametrize("fails", [True, False], ids=["a hook that fails", "a hook that says nothing"])
def test_a_new_connection_that_a_hook_leaves_in_a_statement_is_gone_before_the_next_try(  # P6
    server: EmbeddedPostgres, watcher: Watcher, fails: bool
) -> None:
    tries: list[int] = []

    def configure(conn: Any) -> None:
        tries.append(conn.info.backend_pid)
        if len(tries) < 4:
            conn.pgconn.send_query(b"SELECT pg_sleep(60)")
            if fails:
                raise RuntimeError("in the middle of its statement")

    pool = managed_pool(server.url("faults"), configure=configure, max_size=1, connection_timeout=10)
    try:
        with pool.connection() as conn:
            assert conn.info.backend_pid == tries[3]
        assert watcher.most == 1
    finally:
        pool.close()


class Interrupted(Exception):
    """As Celery's SoftTimeLimitExceeded: raised by a signal handler."""


def test_the_statement_of_a_request_that_was_interrupted_is_cancelled(  # P4 P6
    borrow: Callable[..., Borrower], watcher: Watcher
) -> None:
    borrower = borrow(max_size=2, connection_timeout=8)

    def interrupt(signum: int, frame: Any) -> None:
        raise Interrupted

    def interrupt_when_it_runs() -> None:
        until(lambda: watcher.runs("pg_sleep") == 1)
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGUSR1)

    before = signal.signal(signal.SIGUSR1, interrupt)
    thread = threading.Thread(target=interrupt_when_it_runs)
    try:
        thread.start()
        with pytest.raises(Interrupted):
            borrower.request("SELECT pg_sleep(60)")
    finally:
        thread.join()
        signal.signal(signal.SIGUSR1, before)
    borrower.end_request()
    until(lambda: watcher.runs("pg_sleep") == 0, "the statement to be cancelled")
    borrower.recovers()
    assert watcher.most <= 2


def test_a_statement_whose_connection_broke_is_cancelled(  # P6
    server: EmbeddedPostgres, proxy: Proxy, watcher: Watcher
) -> None:
    pool = managed_pool(
        server.url("faults").replace(f":{server.port}/", f":{proxy.port}/"), max_size=2, connection_timeout=20
    )
    try:
        failed: list[Exception] = []

        def ask() -> None:
            try:
                with pool.connection() as conn:
                    conn.execute("SELECT pg_sleep(60)")
            except psycopg.OperationalError as ex:
                failed.append(ex)

        threads = [threading.Thread(target=ask) for _ in range(2)]
        for thread in threads:
            thread.start()
        until(lambda: watcher.runs("pg_sleep") == 2)
        proxy.reset()
        for thread in threads:
            thread.join()
        assert len(failed) == 2
        with pool.connection(), pool.connection():
            until(lambda: watcher.runs("pg_sleep") == 0, "the statements to be cancelled")
        assert watcher.most <= 2
        assert pool.snapshot().left_behind == 0
    finally:
        pool.close()


def test_a_statement_whose_connection_the_borrower_closed_is_cancelled(  # P6
    make_pool: Callable[..., ManagedPool], watcher: Watcher
) -> None:
    pool = make_pool(max_size=1, connection_timeout=20)
    with pool.connection() as conn:
        conn.pgconn.send_query(b"SELECT pg_sleep(60)")
        until(lambda: watcher.runs("pg_sleep") == 1)
        conn.close()
    with pool.connection():
        until(lambda: watcher.runs("pg_sleep") == 0, "the statement to be cancelled")
    assert watcher.most <= 1


# -- a server that doesn't end its process ----------------------------------------------------------------------------


@contextmanager
def frozen(pid: int) -> Iterator[None]:
    """One of the server's processes, stopped in its tracks."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def test_the_place_of_a_session_that_does_not_end_is_free_after_the_deadline_which_is_said(  # P6 P8
    make_pool: Callable[..., ManagedPool], watcher: Watcher, caplog: pytest.LogCaptureFixture
) -> None:
    pool = make_pool(max_size=1, connection_timeout=4, validation="query")
    with pool.connection() as conn:
        pid = conn.info.backend_pid
    with frozen(pid):
        until(lambda: pool.snapshot().idle == 1)
        began = monotonic()
        # It has half of its time for the question, and none is left for the rest.
        with pytest.raises(ServerDown, match="does not answer"):
            pool.checkout(0.3)
        assert monotonic() - began < 0.8
        seen = pool.snapshot()
        assert (seen.closing, seen.size, seen.left_behind, watcher.most) == (1, 1, 0, 1)
        with pool.connection() as conn:
            assert conn.info.backend_pid != pid
        assert (pool.snapshot().closing, pool.snapshot().left_behind) == (0, 1)
        assert f"did not end its process {pid} within 1.0 s" in caplog.text
    until(lambda: [each[0] for each in watcher.now] == list(pool.snapshot().backend_pids), "the old session to end")


@pytest.mark.parametrize("afterwards", [True, False])
def test_the_place_of_what_its_borrower_closed_is_free_when_the_server_s_process_is_gone(  # P6
    make_pool: Callable[..., ManagedPool], watcher: Watcher, afterwards: bool
) -> None:
    pool = make_pool(max_size=1, connection_timeout=20)
    conn, got = pool.checkout(), []
    until(lambda: watcher.now)
    with frozen(pid := conn.info.backend_pid):
        steps = [lambda: pool.give_back(conn), conn.close]
        for step in steps if afterwards else reversed(steps):
            step()
        with socket.socket():  # which has the number by now that the connection's had
            thread = wait_in_thread(pool, got)
            assert (pool.snapshot().closing, pool.snapshot().created) == (1, 1)
    thread.join()
    assert got[0].info.backend_pid != pid
    pool.give_back(got[0])
    assert (watcher.most, pool.snapshot().left_behind) == (1, 0)


def test_a_statement_whose_cancel_finds_no_way_is_cancelled_when_there_is_one_although_its_place_is_free(
    server: EmbeddedPostgres, proxy: Proxy, watcher: Watcher
) -> None:
    pool = managed_pool(
        server.url("faults").replace(f":{server.port}/", f":{proxy.port}/"), max_size=1, connection_timeout=4
    )
    try:
        [conn] = hold(pool, 1)
        conn.pgconn.send_query(b"SELECT pg_sleep(60)")
        until(lambda: watcher.runs("pg_sleep") == 1)
        proxy.refuse()  # as a server that is too busy to let a cancel in
        pool.give_back(conn)
        until(lambda: pool.snapshot().left_behind == 1, "the deadline to pass")
        assert watcher.runs("pg_sleep") == 1
        proxy.accept()
        until(lambda: watcher.runs("pg_sleep") == 0, "the statement to be cancelled")
    finally:
        pool.close()


def test_a_session_that_does_not_end_keeps_no_other_place_waiting(  # P8
    make_pool: Callable[..., ManagedPool], watcher: Watcher
) -> None:
    pool = make_pool(max_size=2, connection_timeout=20, validation="query")
    with pool.connection() as conn:
        pid = conn.info.backend_pid
    with frozen(pid):
        with pool.connection(2) as conn:
            assert conn.info.backend_pid != pid
            assert pool.snapshot().closing == 1
            until(lambda: len(watcher.now) == 2)
        began = monotonic()
        pool.close(0.5)
        assert monotonic() - began < 1.5
    assert watcher.most == 2


@pytest.mark.long
def test_a_pool_that_shrinks_is_small_when_the_server_says_so(  # P6
    make_pool: Callable[..., ManagedPool], watcher: Watcher
) -> None:
    pool = make_pool(max_size=3)
    held = hold(pool, 3)
    give_back(pool, held)
    pids = pool.snapshot().backend_pids
    with ExitStack() as stack:
        for pid in pids:
            stack.enter_context(frozen(pid))
        pool.limit(Allowance(1))
        assert (pool.snapshot().idle, pool.snapshot().closing, pool.snapshot().size) == (1, 2, 3)
        held = hold(pool, 1)
        give_back(pool, held)
        # Who comes back is not counted among those that go.
        assert (pool.snapshot().idle, pool.snapshot().closing) == (1, 2)
    until(lambda: pool.snapshot().size == 1)
    assert len(watcher.now) <= 1 or until(lambda: len(watcher.now) == 1)
    assert pool.snapshot().left_behind == 0


@pytest.mark.long
def test_what_is_used_beyond_the_lease_is_broken_off_also_where_no_cancel_gets_through(  # P6
    server: EmbeddedPostgres, proxy: Proxy
) -> None:
    pool = managed_pool(server.url("faults").replace(f":{server.port}/", f":{proxy.port}/"), max_size=2)
    try:
        held = hold(pool, 1)
        proxy.refuse()
        now = monotonic()
        pool.limit(Allowance(2, lapses=now, ends=now))
        # Granted again before the other thread has come to it: the room may have been another's meanwhile.
        pool.limit(Allowance(2))
        until(lambda: not backends(server.url("faults")), "the session to end")
        give_back(pool, held)
    finally:
        pool.close()
