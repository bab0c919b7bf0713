"""What runs on a connection that SQLAlchemy's pool gives up doesn't run on at the server, with each driver that can stop it."""

import asyncio
import gc
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from time import monotonic
from typing import Any

import psycopg
import pytest
from sqlalchemy.util import greenlet_spawn

from poolmgr.exceptions import CheckoutError
from poolmgr.pools.allowance import Allowance
from poolmgr.targets.sqlalchemy import create_async_engine, stopping
from tests.forking import in_child
from tests.kinds.async_subjects import AsyncAlchemy
from tests.kinds.subjects import Alchemy, in_thread
from tests.sampling import with_all
from tests.waiting import until

SLEEP = "SELECT pg_sleep(60)"
#: What may be a validation query, and takes as long.
COUNT = "SELECT count(*) FROM generate_series(1, 10000000000)"
#: The first cancel ends but a part of it.
STUBBORN = (
    "DO $$ BEGIN BEGIN PERFORM pg_sleep(60); EXCEPTION WHEN query_canceled THEN NULL; END; PERFORM pg_sleep(60); END $$"
)
#: No cancel ends it before a second after the first is over.
LASTING = """
DO $$ DECLARE ends timestamptz;
BEGIN LOOP
    BEGIN PERFORM pg_sleep(60);
    EXCEPTION WHEN query_canceled THEN
        ends := coalesce(ends, clock_timestamp() + interval '1 s');
        IF clock_timestamp() > ends THEN RAISE; END IF;
    END;
END LOOP; END $$
"""


class Psycopg(Alchemy):
    def invalidate(self, conn: Any) -> None:
        conn.invalidate()

    def run(self, conn: Any, statement: str) -> None:
        """Have the server run it until that comes to an end."""
        conn.cursor().execute(statement)

    def begin(self, conn: Any, statement: str) -> None:
        """The same in hands of somebody whom the pool doesn't know."""
        run = conn.driver_connection.cursor().execute
        threading.Thread(target=_quietly, args=[run, statement], daemon=True).start()


class AsyncPsycopg(AsyncAlchemy):
    driver = "psycopg"
    breaks = (*AsyncAlchemy.breaks, psycopg.Error)
    under_way: Any

    def invalidate(self, conn: Any) -> None:
        self.loop.do(lambda: greenlet_spawn(conn.invalidate))

    def run(self, conn: Any, statement: str) -> None:
        self.loop.do(lambda: greenlet_spawn(lambda: conn.cursor().execute(statement)))

    def begin(self, conn: Any, statement: str) -> None:
        async def begin() -> None:
            self.under_way = asyncio.ensure_future(conn.driver_connection.execute(statement))
            self.under_way.add_done_callback(lambda future: future.cancelled() or future.exception())

        self.loop.do(begin)


class Asyncpg(AsyncPsycopg):
    driver = "asyncpg"


def _quietly(run: Callable[[str], object], statement: str) -> None:
    with suppress(Exception):
        run(statement)


def _error_of(act: Callable[[], object]) -> Any:
    try:
        return act()
    except Exception as ex:
        return ex


#: One on each core.
@pytest.fixture(params=[Psycopg, *with_all(AsyncPsycopg), Asyncpg], ids=lambda cls: f"{cls.__name__}")
def alchemy(request: pytest.FixtureRequest, postgres: Any) -> Iterator[Any]:
    made = request.param(str(postgres.create_database("kinds")))
    yield made
    made.kill()
    made.close()


@pytest.fixture
def running(alchemy: Any) -> Iterator[Callable[[], set[int]]]:
    """running(): the server's processes that are at a statement."""
    with psycopg.connect(alchemy.url, autocommit=True, application_name="onlooker") as look:
        query = (
            "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND query ~ 'pg_sleep|generate_series' AND"
            " state = 'active' AND pid <> pg_backend_pid()"
        )
        before = {pid for (pid,) in look.execute(query)}  # left by another test
        yield lambda: {pid for (pid,) in look.execute(query)} - before


def test_statement_of_a_borrower_that_ended_is_stopped(alchemy: Any, running: Callable[[], set[int]]) -> None:  # P4 P6
    alchemy.open(max_size=1, connection_timeout=20.0)
    held: list[Any] = []

    def borrow_and_end() -> None:
        held.append(alchemy.borrow())
        alchemy.begin(held[0], STUBBORN)

    in_thread(borrow_and_end)
    before = until(running)
    until(lambda: not alchemy.pool.snapshot().used, timeout=15)
    until(lambda: not running())
    with alchemy.borrowed() as conn:
        assert alchemy.ends() == {alchemy.use(conn)}
        assert not alchemy.ends() & before
    assert alchemy.pool.snapshot().left_behind == 0


@pytest.mark.long
def test_statement_that_outlasts_the_patience_for_its_place_is_stopped(  # P6
    alchemy: Any, running: Callable[[], set[int]]
) -> None:
    alchemy.open(max_size=1, connection_timeout=1.0)
    held: list[Any] = []

    def borrow_and_end() -> None:
        held.append(alchemy.borrow())
        alchemy.begin(held[0], LASTING)

    in_thread(borrow_and_end)
    until(running)
    until(lambda: alchemy.pool.snapshot().left_behind == 1, timeout=15)
    until(lambda: not running())


def test_statement_in_use_when_the_lease_ends_is_stopped(alchemy: Any, running: Callable[[], set[int]]) -> None:  # P6
    alchemy.open(max_size=1, budget=5)
    failed: list[Any] = []

    def work() -> None:
        conn = alchemy.borrow()
        try:
            alchemy.run(conn, SLEEP)
        except alchemy.breaks as ex:
            failed.append(ex)
        alchemy.give_back(conn)

    thread = threading.Thread(target=work)
    thread.start()
    until(running)
    began = monotonic()
    alchemy.pool.limit(Allowance(1, began, began + 0.1))
    until(lambda: not running())
    thread.join(10)
    assert failed
    until(lambda: not alchemy.ends())
    alchemy.pool.limit(Allowance(1))
    with alchemy.borrowed() as conn:
        alchemy.use(conn)


def test_statement_on_what_is_invalidated_is_stopped(alchemy: Any, running: Callable[[], set[int]]) -> None:  # P6
    alchemy.open(max_size=1)
    conn = alchemy.borrow()
    alchemy.begin(conn, SLEEP)
    until(running)
    alchemy.invalidate(conn)
    alchemy.give_back(conn)
    until(lambda: not running())
    with alchemy.borrowed() as conn:
        assert alchemy.ends() == {alchemy.use(conn)}


@pytest.mark.parametrize("alchemy", [AsyncPsycopg, Asyncpg], indirect=True, ids=lambda cls: f"{cls.__name__}")
@pytest.mark.filterwarnings("ignore:The garbage collector is trying to clean up")
def test_statement_on_what_was_dropped_is_stopped(alchemy: Any, running: Callable[[], set[int]]) -> None:  # P6
    alchemy.open(max_size=1, connection_timeout=20.0)
    for _ in range(2):
        conn = alchemy.borrow()
        alchemy.begin(conn, SLEEP)
        before = until(running)
        del conn
        until(lambda: gc.collect() >= 0 and not alchemy.pool.snapshot().used)
        until(lambda: not running())
        with alchemy.borrowed() as conn:
            assert alchemy.ends() == {alchemy.use(conn)}
            assert not alchemy.ends() & before
    assert alchemy.pool.snapshot().left_behind == 0


@pytest.mark.parametrize("alchemy", [Asyncpg], indirect=True, ids=lambda cls: f"{cls.__name__}")
@pytest.mark.filterwarnings("ignore:The garbage collector is trying to clean up")
@pytest.mark.filterwarnings("error::pytest.PytestUnraisableExceptionWarning")
def test_place_is_free_where_a_borrower_broke_off_what_they_dropped(alchemy: Any) -> None:  # P4
    alchemy.open(max_size=1, connection_timeout=20.0)
    conn = alchemy.borrow()

    async def break_off() -> None:
        conn.driver_connection.terminate()

    alchemy.loop.do(break_off)
    until(lambda: not alchemy.ends())
    del conn, break_off
    until(lambda: gc.collect() >= 0 and not alchemy.pool.snapshot().used)
    assert alchemy.pool.snapshot().reclaimed == 0
    with alchemy.borrowed() as conn:
        assert alchemy.ends() == {alchemy.use(conn)}


def test_statement_that_begins_while_its_connection_is_cut_off_is_stopped(  # P6
    alchemy: Any, running: Callable[[], set[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    alchemy.open(max_size=1)
    conn = alchemy.borrow()
    begun, hang_up, here = threading.Event(), stopping.hang_up, threading.current_thread()

    def a_moment_too_late(fileno: int) -> None:
        # Another thread's comes when it has asked the server to stop what runs: else that might hit the beginning.
        if threading.current_thread() is not here:
            alchemy.begin(conn, STUBBORN)
            until(running)
            begun.set()
        assert begun.wait(20)
        hang_up(fileno)

    monkeypatch.setattr(stopping, "hang_up", a_moment_too_late)
    stopping.sever(conn._connection_record, at_once=True)
    until(lambda: not running())
    alchemy.give_back(conn)


def test_question_that_is_not_answered_in_time_is_stopped(
    alchemy: Any, running: Callable[[], set[int]]
) -> None:  # P6 P8
    alchemy.open(max_size=1, connection_timeout=2.0)
    alchemy.give_all_back(alchemy.hold(1))
    alchemy.change(validation="query", validation_query=COUNT)
    failed: list[Any] = []
    thread = threading.Thread(target=lambda: failed.append(_error_of(alchemy.borrow)))
    thread.start()
    until(running)
    thread.join(10)
    assert isinstance(failed[0], CheckoutError)
    until(lambda: not running())
    until(lambda: len(alchemy.ends()) <= 1)


def test_silent_server_keeps_nobody_beyond_the_deadline_of_a_question(alchemy: Any) -> None:  # P7 P8
    alchemy.open(alchemy.through_proxy, max_size=1, validation="query", connection_timeout=1)
    alchemy.give_all_back(alchemy.hold(1))
    alchemy.proxy.freeze()
    began = monotonic()
    with pytest.raises(CheckoutError):
        alchemy.borrow()
    assert monotonic() - began < 10
    alchemy.proxy.thaw()
    alchemy.change(connection_timeout=5.0)
    alchemy.give_all_back(alchemy.hold(1))


@pytest.mark.parametrize("alchemy", [Psycopg], indirect=True)
def test_child_stops_nothing_of_its_parent_s(alchemy: Any, running: Callable[[], set[int]]) -> None:  # P3
    alchemy.open(max_size=1)
    conn, found = alchemy.borrow(), []
    thread = threading.Thread(
        target=lambda: found.append(conn.cursor().execute("SELECT 1 FROM pg_sleep(1)").fetchone())
    )
    thread.start()
    until(running)

    def child() -> None:
        conn.invalidate()
        conn.close()

    in_child(child)
    thread.join(10)
    assert found == [(1,)]
    alchemy.give_back(conn)


@pytest.mark.parametrize("driver", ["psycopg", "asyncpg"])
def test_statement_of_a_loop_that_was_closed_without_an_end_is_stopped(driver: str, postgres: Any) -> None:  # P4
    url = str(postgres.create_database("kinds"))
    engine = create_async_engine("", url.replace("postgresql://", f"postgresql+{driver}://"), pool={"max_size": 1})
    alchemy = Alchemy(url)
    loop = asyncio.new_event_loop()
    kept: list[Any] = []

    async def begin() -> None:
        kept.append(conn := await engine.raw_connection())
        kept.append(task := asyncio.ensure_future(conn.driver_connection.execute(SLEEP)))
        task._log_destroy_pending = False  # type: ignore[attr-defined]
        async with asyncio.timeout(10):
            while not await asyncio.to_thread(_sleepers, url):
                await asyncio.sleep(0.01)

    loop.run_until_complete(begin())
    loop.close()
    until(lambda: not _sleepers(url))
    alchemy.close()
    kept.clear()


def _sleepers(url: str) -> int:
    with psycopg.connect(url, autocommit=True, application_name="onlooker") as look:
        query = "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query = %s"
        row = look.execute(query, [SLEEP]).fetchone()
        return row[0] if row else 0
