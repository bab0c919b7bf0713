"""PostgreSQL's pool in the hands of tasks: what they share with threads, what they leave, and where they are cancelled."""

import asyncio
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any

import psycopg
import pytest
from psycopg import pq
from psycopg.types import TypeInfo
from psycopg.types.json import set_json_loads

from poolmgr.exceptions import PoolExhausted, PoolPaused
from poolmgr.pools.aio.forgotten import SILENT
from poolmgr.pools.spec import make_spec
from poolmgr.targets.postgresql.asyncio.pool import AsyncPool
from poolmgr.targets.postgresql.managed import ManagedPool
from poolsite.demo.servers import EmbeddedPostgres
from tests import pools
from tests.forking import in_child
from tests.kinds.test_stopping import STUBBORN
from tests.threads import at_once
from tests.waiting import until


@pytest.fixture
def make(postgres: EmbeddedPostgres) -> Iterator[Callable[..., AsyncPool]]:
    made: list[ManagedPool] = []

    def make(**settings: Any) -> AsyncPool:
        managed = pools.managed_pool(str(postgres.create_database("tasks")), **settings)
        made.append(managed)
        return AsyncPool(lambda: managed)

    yield make
    for managed in made:
        managed.close()


async def pid_of(conn: Any) -> int:
    return int((await (await conn.execute("SELECT pg_backend_pid()")).fetchone())[0])


async def one(conn: Any, query: str) -> Any:
    return (await (await conn.execute(query)).fetchone())[0]


def test_task_gets_psycopg_s_own_connection_in_autocommit(make: Callable[..., AsyncPool]) -> None:  # P1
    pool = make()

    async def main() -> None:
        async with pool.connection() as conn:
            assert isinstance(conn, psycopg.AsyncConnection)
            assert conn.autocommit
            await conn.execute("CREATE TABLE kept (number int)")
            async with conn.transaction():
                await conn.execute("INSERT INTO kept VALUES (1)")
            with suppress(ZeroDivisionError):
                async with conn.transaction():
                    await conn.execute("INSERT INTO kept VALUES (2)")
                    raise ZeroDivisionError
            async with conn.cursor(row_factory=psycopg.rows.dict_row) as cursor:
                await cursor.execute("SELECT * FROM kept")
                assert await cursor.fetchall() == [{"number": 1}]
            async with conn.transaction(), conn.cursor("named") as named:
                await named.execute("SELECT generate_series(1, 3)")
                assert [row[0] async for row in named] == [1, 2, 3]
            async with conn.pipeline():
                await conn.execute("INSERT INTO kept VALUES (3)")
            async with conn.cursor().copy("COPY kept FROM STDIN") as copy:
                await copy.write_row([4])
            assert [row[0] async for row in conn.cursor().stream("SELECT number FROM kept ORDER BY 1")] == [1, 3, 4]

    asyncio.run(main())
    assert pool.managed.load()[1:] == (0, 0)
    assert pool.managed.snapshot().created == 1


def test_pool_takes_back_what_is_its_own(make: Callable[..., AsyncPool], postgres: EmbeddedPostgres) -> None:  # P3
    pool, another = make(), make()

    async def main() -> None:
        direct = await psycopg.AsyncConnection.connect(str(postgres.create_database("tasks")))
        conn = await pool.getconn()
        for wrong, where in ((direct, pool), (conn, another), (None, pool)):
            with pytest.raises(ValueError, match="does not come"):
                await where.putconn(wrong)
        assert await one(conn, "SELECT 1") == 1
        await pool.putconn(conn)
        await pool.putconn(conn)
        await direct.close()

    asyncio.run(main())
    assert pool.managed.load()[1:] == (0, 0)


LEFT = {
    "SET": "SET work_mem = '1234kB'",
    "temporary table": "CREATE TEMPORARY TABLE mine (number int)",
    "advisory lock": "SELECT pg_advisory_lock(7)",
    "LISTEN": "LISTEN news",
    "PREPARE": "PREPARE mine AS SELECT 1",
    "open transaction": "BEGIN; CREATE TABLE mine (number int)",
}
SEEN = (
    f"SELECT current_setting('work_mem'), to_regclass('mine'), ({pools.LOCKS}),"
    " (SELECT count(*) FROM pg_listening_channels()), (SELECT count(*) FROM pg_prepared_statements),"
    " (SELECT count(*) FROM pg_cursors), now() = statement_timestamp()"
)


@pytest.mark.parametrize("what", LEFT)
def test_next_task_sees_nothing_of_what_another_left(make: Callable[..., AsyncPool], what: str) -> None:  # P2
    pool = make(max_size=1)

    async def main() -> None:
        async with pool.connection() as conn:
            before, pid = await (await conn.execute(SEEN)).fetchone(), await pid_of(conn)
        async with pool.connection() as conn:
            await conn.execute(LEFT[what])
        async with pool.connection() as conn:
            assert await (await conn.execute(SEEN)).fetchone() == before
            assert await pid_of(conn) == pid

    asyncio.run(main())


def test_next_task_sees_nothing_of_what_another_set_in_python(make: Callable[..., AsyncPool]) -> None:  # P2
    pool = make(max_size=1)
    heard: list[Any] = []

    async def main() -> None:
        async with pool.connection() as conn:
            threshold = conn.prepare_threshold
            conn.row_factory = psycopg.rows.dict_row
            conn.cursor_factory = psycopg.AsyncClientCursor
            conn.add_notice_handler(heard.append)
            conn.prepare_threshold = 0
            set_json_loads(lambda text: "theirs", conn)
            await conn.set_autocommit(False)
            await conn.set_isolation_level(psycopg.IsolationLevel.SERIALIZABLE)
            cursor = conn.cursor("held", withhold=True)
            await cursor.execute("SELECT 1")
        async with pool.connection() as conn:
            assert conn.autocommit
            assert conn.isolation_level is None
            assert conn.prepare_threshold == threshold
            assert not isinstance(conn.cursor(), psycopg.AsyncClientCursor)
            await conn.execute("DO $$ BEGIN RAISE NOTICE 'hear'; END $$")
            assert await one(conn, "SELECT '1'::json") == 1
            assert await one(conn, "SELECT count(*) FROM pg_cursors") == 0

    asyncio.run(main())
    assert heard == []


def test_types_registered_with_the_pool_are_known_to_every_task(make: Callable[..., AsyncPool]) -> None:
    pool = make()

    async def main() -> None:
        async with pool.connection() as conn:
            await conn.execute("CREATE TYPE mood AS ENUM ('well')")
            info = await TypeInfo.fetch(conn, "mood")
            assert info is not None
            info.register(pool)
        async with pool.connection() as conn:
            assert conn.adapters.types["mood"].oid == info.oid

    asyncio.run(main())


def test_clean_return_asks_the_server_nothing(make: Callable[..., AsyncPool]) -> None:
    pool = make(max_size=1)
    statements: list[str] = []

    async def main() -> None:
        async with pool.connection() as conn:
            pid = await pid_of(conn)
        async with pool.connection() as conn, conn.transaction():
            await conn.execute("SELECT 'the last'")
        with psycopg.connect(**pool.managed.given, autocommit=True) as onlooker:  # type: ignore[attr-defined]
            row = onlooker.execute("SELECT query FROM pg_stat_activity WHERE pid = %s", [pid]).fetchone()
            assert row is not None
            statements.append(row[0])

    asyncio.run(main())
    assert statements == ["COMMIT"]
    assert pool.managed.snapshot().cleaned == 0


def test_statement_that_no_cursor_of_ours_has_looked_at_pins(make: Callable[..., AsyncPool]) -> None:  # P2
    pool = make(max_size=1)

    async def main() -> None:
        async with pool.connection() as conn:
            await psycopg.AsyncCursor(conn).execute("SELECT set_config('a.b', 'c', false)")
            assert pool.managed.snapshot().holders[0].pinned == "cursor of another class"
        async with pool.connection() as conn:
            assert await one(conn, "SELECT coalesce(current_setting('a.b', true), '')") == ""

    asyncio.run(main())


def test_threads_and_the_tasks_of_all_loops_share_max_size_and_the_connections(  # P3 P6
    make: Callable[..., AsyncPool],
) -> None:
    pool = make(max_size=2)
    managed = pool.managed
    pids: set[int] = set()

    async def use() -> None:
        async with pool.connection() as conn:
            pids.add(await pid_of(conn))
            with managed.connection() as sync_conn:
                row = sync_conn.execute("SELECT pg_backend_pid()").fetchone()
                assert row is not None
                pids.add(row[0])
            with managed.connection(), pytest.raises(PoolExhausted, match=r"held longest by .*Task-\d+ .*use"):
                await pool.checkout(0.05)

    asyncio.run(use())
    asyncio.run(use())  # another loop, the first being closed
    assert len(pids) == 2
    assert managed.snapshot().created == 2


def test_task_that_waits_is_served_by_what_a_thread_gives_back(make: Callable[..., AsyncPool]) -> None:
    pool = make(max_size=1)
    managed = pool.managed

    async def main() -> None:
        held = managed.checkout()
        waiting = asyncio.create_task(pool.checkout(10))
        while not managed.load().pending:
            await asyncio.sleep(0)
        threading.Thread(target=managed.give_back, args=[held]).start()
        conn = await waiting
        assert await pid_of(conn) == held.entry.pid
        pool.give_back(conn)

    asyncio.run(main())


def test_task_waits_while_the_pool_is_paused_and_goes_on(make: Callable[..., AsyncPool]) -> None:
    pool = make(max_size=1)
    managed = pool.managed

    async def main() -> None:
        managed.pause()
        with pytest.raises(PoolPaused):
            await pool.checkout(0.05)
        waiting = asyncio.create_task(pool.checkout(10))
        while not managed.load().pending:
            await asyncio.sleep(0)
        managed.resume()
        pool.give_back(await waiting)

    asyncio.run(main())


def test_connection_that_was_given_back_is_over_for_who_keeps_it(make: Callable[..., AsyncPool]) -> None:  # P3
    pool = make(max_size=1)

    async def main() -> None:
        async with pool.connection() as kept:
            cursor = await kept.execute("SELECT 1")
        async with pool.connection() as conn:
            assert kept.closed
            for use in (
                kept.execute("SELECT 1"),
                cursor.execute("SELECT 1"),
                kept.commit(),
                kept.set_autocommit(False),
                kept.cursor("named").execute("SELECT 1") if not kept.closed else kept.rollback(),
            ):
                with pytest.raises((psycopg.InterfaceError, psycopg.OperationalError)):
                    await use
            for name in ("prepare_threshold", "prepared_max"):
                with pytest.raises(psycopg.InterfaceError):
                    setattr(kept, name, 1)
            with pytest.raises(psycopg.InterfaceError):
                await psycopg.AsyncCursor(kept).execute("SET work_mem = '1MB'")
            assert pool.managed.snapshot().holders[0].pinned == ""
            pool.give_back(kept)
            await kept.close()
            await kept.cancel_safe()
            assert await one(conn, "SELECT 2") == 2

    asyncio.run(main())
    assert pool.managed.snapshot().created == 1


def test_statement_of_another_task_is_broken_off_when_the_block_ends(make: Callable[..., AsyncPool]) -> None:  # P3 P4
    pool = make(max_size=1)

    async def main() -> None:
        async with pool.connection() as conn:
            pid = conn.info.backend_pid
            straying = asyncio.create_task(conn.execute("SELECT pg_sleep(60)"))
            while conn.pgconn.transaction_status != pq.TransactionStatus.ACTIVE:
                await asyncio.sleep(0)
        with pytest.raises(psycopg.Error):
            await straying
        async with pool.connection() as conn:
            # In its place, and so when the server's process is gone.
            assert await one(conn, f"SELECT count(*) FROM pg_stat_activity WHERE pid = {pid}") == 0

    asyncio.run(main())
    assert pool.managed.snapshot().left_behind == 0


def test_statement_that_the_first_cancel_does_not_end_is_broken_off_too(
    make: Callable[..., AsyncPool],
) -> None:  # P4 P6
    pool = make(max_size=1)

    async def main() -> None:
        async with pool.connection() as conn:
            straying = asyncio.create_task(conn.execute(STUBBORN))
            while conn.pgconn.transaction_status != pq.TransactionStatus.ACTIVE:
                await asyncio.sleep(0)
        # Before its connection is, for which it would have to wait.
        with pytest.raises(psycopg.errors.QueryCanceled):
            await straying
        async with pool.connection() as conn:
            assert await one(conn, "SELECT 1") == 1

    asyncio.run(main())


def test_task_that_closes_its_connection_gets_another(make: Callable[..., AsyncPool]) -> None:
    pool = make(max_size=1)

    async def main() -> None:
        async with pool.connection() as conn:
            first = await pid_of(conn)
            await conn.close()
            assert conn.closed
        async with pool.connection() as conn:
            assert await pid_of(conn) != first

    asyncio.run(main())


def test_what_a_loop_had_out_when_it_was_closed_comes_back(make: Callable[..., AsyncPool]) -> None:  # P4
    pool = make(max_size=1)
    loop = asyncio.new_event_loop()
    kept = []

    async def hold() -> None:
        kept.append(await pool.checkout())
        await asyncio.sleep(60)

    task = loop.create_task(hold())
    while not kept:
        loop.run_until_complete(asyncio.sleep(0.001))
    loop.close()
    until(lambda: pool.managed.snapshot().reclaimed == 1)

    async def use() -> int:
        async with pool.connection() as conn:
            return await pid_of(conn)

    assert asyncio.run(use()) > 0
    del task


def test_what_another_task_goes_on_with_stays_with_it(make: Callable[..., AsyncPool]) -> None:  # P3
    pool = make(max_size=1)

    async def main() -> None:
        conn = await asyncio.create_task(pool.checkout())

        async def use() -> int:
            return await pid_of(conn)

        first = await use()
        silence = pool.managed.silence
        while not any(noted.patience > SILENT for noted in silence._noted.values()):  # somebody has looked who uses it
            await asyncio.sleep(0.05)
        assert await use() == first
        pool.give_back(conn)

    asyncio.run(main())
    assert pool.managed.snapshot().reclaimed == 0


def test_loops_of_several_threads_use_one_pool_at_once(make: Callable[..., AsyncPool]) -> None:  # P2 P3
    pool = make(max_size=3)
    wrong: list[Any] = []

    async def work(number: int) -> None:
        for turn in range(40):
            async with pool.connection() as conn:
                said = f"{number} {turn}"
                if (got := await one(conn, f"SELECT '{said}'")) != said:
                    wrong.append((got, said))
                if turn % 8 == 0:
                    await conn.execute("SET application_name = 'theirs'")

    async def main(first: int) -> None:
        await asyncio.gather(*(work(first + each) for each in range(5)))

    def loop(first: int) -> None:
        asyncio.run(main(first))

    assert at_once(*(partial(loop, each * 10) for each in range(3))) == [None] * 3
    assert wrong == []
    until(lambda: pool.managed.load()[1:] == (0, 0))
    assert pool.managed.snapshot().created == 3


class Cancelled:
    """Cancels a task before its step number `at`; `steps` is how many it took."""

    def __init__(self, at: int) -> None:
        self.at = at
        self.steps = 0

    def run(self, coroutine: Any) -> None:
        loop = asyncio.new_event_loop()
        try:
            loop.run_until_complete(self.within(coroutine))
        finally:
            loop.close()

    async def within(self, coroutine: Any) -> None:
        """In the running loop."""
        task = asyncio.ensure_future(coroutine)
        with self._cancelling(task), suppress(asyncio.CancelledError):
            await task

    async def here(self, coroutine: Any) -> Any:
        """In the running task, whose steps are counted from now on until the coroutine has ended."""
        task = asyncio.current_task()
        assert task is not None
        with self._cancelling(task):
            return await coroutine

    @contextmanager
    def _cancelling(self, task: asyncio.Task[Any]) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        real = loop.call_soon

        def counted(callback: Any, *args: Any, **kwargs: Any) -> Any:
            if getattr(callback, "__self__", None) is task:
                self.steps += 1
                if self.steps == self.at:
                    task.cancel()
            return real(callback, *args, **kwargs)

        loop.call_soon = counted  # type: ignore[method-assign]
        try:
            yield
        finally:
            loop.call_soon = real  # type: ignore[method-assign]


@pytest.mark.parametrize("waits", [False, True])
@pytest.mark.parametrize("validation", ["socket", "query"])
def test_task_that_is_cancelled_at_whichever_step_loses_no_connection(  # P3 P4
    make: Callable[..., AsyncPool], validation: str, waits: bool
) -> None:
    pool = make(max_size=1, validation=validation)
    managed = pool.managed

    async def use() -> None:
        async with pool.connection() as conn, conn.transaction():
            await conn.execute("SET LOCAL work_mem = '1MB'")
            await conn.execute("SET application_name = 'theirs'")

    at, went_on = 0, True
    while went_on:
        at += 1
        cancelled = Cancelled(at)
        held = managed.checkout() if waits else None
        if held is not None:
            # It comes back somewhere in the middle of the task's steps.
            timer = threading.Timer(0.002 * (at % 5), managed.put_back, [held])
            timer.start()
        cancelled.run(use())
        went_on = cancelled.steps >= at
        if held is not None:
            timer.join()
        until(lambda: managed.load()[1:] == (0, 0) and len(managed.pool._pool) == managed.pool._nconns)
        with managed.connection(1.0) as conn:
            row = conn.execute("SELECT current_setting('application_name')").fetchone()
            assert row is not None
            assert row[0] != "theirs"
    assert at > 4  # begin, two statements, commit
    seen = managed.snapshot()
    assert (seen.reclaimed, seen.left_behind, seen.size) == (0, 0, 1)


def test_cancelled_while_the_server_is_silent_a_checkout_ends_at_once(  # P4 P8
    make: Callable[..., AsyncPool], postgres: EmbeddedPostgres
) -> None:
    pool = make(max_size=1, validation="query", connection_timeout=4.0)

    async def main() -> None:
        async with pool.connection() as conn:
            pid = await pid_of(conn)
        os.kill(pid, signal.SIGSTOP)
        try:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.2):
                    await pool.checkout()
        finally:
            os.kill(pid, signal.SIGCONT)
        async with pool.connection() as conn:
            await pid_of(conn)

    asyncio.run(main())
    assert pool.managed.load()[1:] == (0, 0)


def test_cancelled_while_a_statement_runs_the_connection_stays_unless_the_server_is_frozen(  # P3 P4 P8
    make: Callable[..., AsyncPool],
) -> None:
    pool = make(max_size=1)

    async def give_up(seconds: float, query: str) -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(seconds), pool.connection() as conn:
                await conn.execute(query)

    async def main() -> None:
        async with pool.connection() as conn:
            pid = await pid_of(conn)
        await give_up(0.05, "SELECT pg_sleep(60)")
        async with pool.connection() as conn:
            assert await pid_of(conn) == pid
        os.kill(pid, signal.SIGSTOP)
        try:
            # Sooner than psycopg's own wait, which lasts 5 seconds.
            async with asyncio.timeout(4):
                await give_up(0.05, "SELECT 1")
        finally:
            os.kill(pid, signal.SIGCONT)
        async with pool.connection() as conn:
            assert await pid_of(conn) != pid

    asyncio.run(main())
    assert pool.managed.load()[1:] == (0, 0)


def test_forked_child_takes_connections_of_its_own(make: Callable[..., AsyncPool]) -> None:  # P3
    pool = make(max_size=1)

    async def main() -> None:
        async with pool.connection() as conn:
            first = await pid_of(conn)

            def child() -> str:
                try:
                    conn.execute("SELECT 1").send(None)
                except psycopg.Error:
                    pool.give_back(conn)
                    return "refused"
                return "used"

            assert in_child(child) == "refused"
            assert await pid_of(conn) == first

    asyncio.run(main())


def test_transactions_begin_as_the_settings_of_the_pool_have_it(make: Callable[..., AsyncPool]) -> None:  # P1
    def configure(conn: Any) -> None:
        conn.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ

    pool = make(max_size=1, configure=configure)

    async def main() -> None:
        for _ in range(2):
            async with pool.connection() as conn:
                async with conn.transaction():
                    assert await one(conn, "SHOW transaction_isolation") == "repeatable read"
                await conn.set_isolation_level(psycopg.IsolationLevel.SERIALIZABLE)

    asyncio.run(main())


def test_connection_that_the_site_s_check_looks_at_still_is_nobody_s(postgres: EmbeddedPostgres) -> None:  # P3 P4
    """The task that asked was cancelled, and the check runs in a thread, which can't be."""
    begun, goes_on = threading.Event(), threading.Event()
    at_work: list[int] = []

    def check(conn: Any) -> None:
        at_work.append(1)
        begun.set()
        goes_on.wait(10)
        at_work.pop()

    url = str(postgres.create_database("tasks"))
    given = {**pools.parameters(url), "autocommit": True}
    managed = ManagedPool("test", make_spec({"min_size": 0, "max_size": 1}), lambda: given, passed={"check": check})
    managed.open()
    pool = AsyncPool(lambda: managed)

    async def main() -> None:
        asking = asyncio.create_task(pool.checkout())
        await asyncio.to_thread(begun.wait, 10)
        asking.cancel()
        with suppress(asyncio.CancelledError):
            await asking
        waiting = asyncio.create_task(pool.checkout(10))
        while not managed.load().pending and len(at_work) == 1:
            await asyncio.sleep(0)
        together = len(at_work)
        goes_on.set()
        assert together == 1
        pool.give_back(await waiting)

    asyncio.run(main())
    assert managed.snapshot().reclaimed == 0
    managed.close()
