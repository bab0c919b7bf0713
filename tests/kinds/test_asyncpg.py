"""What is alone of asyncpg's pools: what is left, what is prepared, hooks, vectors, loops, cancelling, declarations."""

import asyncio
import gc
import os
import pickle
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import psycopg
import pytest
from django.core.checks import run_checks

import poolmgr
import poolmgr.aio
from poolmgr import exceptions
from poolmgr.control.reporting.probe import Probe
from poolmgr.pools import registry
from poolmgr.pools.allowance import Allowance
from poolmgr.pools.desired import Desired
from poolmgr.targets.asyncpg.arguments import of_url
from poolmgr.targets.asyncpg.errors import ERRORS
from poolmgr.targets.asyncpg.kind import ASYNCPG
from poolmgr.targets.asyncpg.making import Maker
from poolmgr.targets.asyncpg.pool import AsyncpgPool
from poolsite.demo.ports import free_port
from tests.agents import without_agent
from tests.disclosure import disclosures
from tests.forking import in_child
from tests.kinds.test_postgresql_asyncio import Cancelled
from tests.pools import LOCKS
from tests.proxy import Proxy
from tests.waiting import until, when

Make = Callable[..., AsyncpgPool]
Look = Callable[[str], set[Any]]
PID = "SELECT pg_backend_pid()"
PLANTED = "planted-password"
SESSIONS = (
    "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND backend_type = 'client backend'"
    " AND pid <> pg_backend_pid()"
)
AT_WORK = f"{SESSIONS} AND state = 'active'"


@pytest.fixture
def url(postgres: Any) -> str:
    return str(postgres.create_database("asyncpg"))


@pytest.fixture
def may_take_a_role(postgres: Any, url: str) -> None:
    with psycopg.connect(postgres.superuser_url(), autocommit=True) as console:
        console.execute(f"GRANT pg_signal_backend TO {urlsplit(url).username}".encode())


@pytest.fixture
def look(url: str) -> Iterator[Look]:
    """look(query): the first column of what the server answers to an onlooker."""
    with psycopg.connect(url, autocommit=True) as onlooker:
        yield lambda query: {row[0] for row in onlooker.execute(query.encode())}


@pytest.fixture
def make(url: str, look: Look) -> Iterator[Make]:
    """make(**settings): a pool without a target; each loop's part goes with its loop."""

    def one(setup: Any = None, init: Any = None, vector: bool = False, **settings: Any) -> AsyncpgPool:
        settings = {"max_size": 1, "connection_timeout": 5.0, **settings}
        return AsyncpgPool(Maker(of_url(url, {}), vector=vector, init=init), pool=settings, setup=setup)

    yield one
    until(lambda: not look(SESSIONS), "the connections of loops that ended to go")


# -- what is left -----------------------------------------------------------------------------------------------------

LEFT = {
    "setting": ("SET work_mem = '77MB'", "SHOW work_mem", "77MB"),
    "role": ("SET ROLE pg_signal_backend", "SELECT current_user::text", "pg_signal_backend"),
    "temporary table": ("CREATE TEMP TABLE theirs (a int)", "SELECT to_regclass('pg_temp.theirs')::text", "theirs"),
    "statement": ("PREPARE theirs AS SELECT 1", "SELECT name FROM pg_prepared_statements WHERE from_sql", "theirs"),
    "cursor": (
        "DECLARE theirs CURSOR WITH HOLD FOR SELECT 1",
        "SELECT name FROM pg_cursors WHERE is_holdable",
        "theirs",
    ),
    "lock": ("SELECT pg_advisory_lock(7)", "SELECT objid::text FROM pg_locks WHERE locktype = 'advisory'", "7"),
    "channel": ("LISTEN theirs", "SELECT pg_listening_channels()", "theirs"),
    "transaction": ("BEGIN; SET LOCAL work_mem = '77MB'", "SHOW work_mem", "77MB"),
    "in a block": ("DO $$ BEGIN PERFORM set_config('work_mem', '77MB', false); END $$", "SHOW work_mem", "77MB"),
}


@pytest.mark.usefixtures("may_take_a_role")
@pytest.mark.parametrize("what", LEFT)
def test_next_borrower_sees_nothing_of_what_another_left(make: Make, what: str) -> None:  # P2
    statement, question, left = LEFT[what]
    pool = make()

    async def main() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: None)  # of the open transaction
        async with pool.acquire() as conn:
            first = await conn.fetchval(PID)
            await conn.execute(statement)
            assert await conn.fetchval(question) == left
        async with pool.acquire() as conn:
            assert await conn.fetchval(question) != left
            assert await conn.fetchval(PID) == first
        assert pool.managed.snapshot().cleaned == 1

    asyncio.run(main())


WAYS = {
    "fetch": lambda conn: conn.fetch("SELECT set_config('work_mem', $1, false)", "77MB"),
    "executemany": lambda conn: conn.executemany("SELECT set_config('work_mem', $1, false)", [("77MB",)]),
    "prepare": lambda conn: _prepared(conn, "SELECT set_config('work_mem', $1, false)"),
    "cursor": lambda conn: _iterated(conn, "SELECT set_config('work_mem', '77MB', false)"),
    "copy": lambda conn: conn.copy_from_query("SELECT set_config('work_mem', '77MB', false)", output=_nothing),
}


async def _nothing(data: bytes) -> None: ...


async def _prepared(conn: Any, statement: str) -> None:
    prepared = await conn.prepare(statement)
    await prepared.fetchval("77MB")


async def _iterated(conn: Any, statement: str) -> None:
    async with conn.transaction():
        async for _ in conn.cursor(statement):
            pass


@pytest.mark.parametrize("way", WAYS)
def test_whichever_way_a_statement_goes_it_is_looked_at(make: Make, way: str) -> None:  # P2
    pool = make()

    async def main() -> None:
        async with pool.acquire() as conn:
            await WAYS[way](conn)
            assert await conn.fetchval("SHOW work_mem") == "77MB"
        assert await pool.fetchval("SHOW work_mem") != "77MB"

    asyncio.run(main())


def test_clean_return_asks_the_server_nothing(make: Make, look: Look) -> None:
    pool = make()

    async def main() -> None:
        async with pool.acquire() as conn, conn.transaction():
            await conn.fetch("SELECT 1")
            await conn.executemany("SELECT $1::int", [(1,), (2,)])
            await (await conn.prepare("SELECT 2")).fetch()
        assert look(f"SELECT query FROM pg_stat_activity WHERE pid IN ({SESSIONS})") == {"COMMIT;"}
        assert pool.managed.snapshot().cleaned == 0

    asyncio.run(main())


def test_what_asyncpg_has_prepared_outlives_a_wipe_and_is_not_missed_where_it_is_gone(make: Make) -> None:
    pool = make()
    prepared = "SELECT count(*) FROM pg_prepared_statements WHERE NOT from_sql OR name LIKE '\\_\\_asyncpg%'"

    async def main() -> None:
        assert await pool.fetchval("SELECT 1") == 1
        kept = await pool.fetchval(prepared)
        await pool.execute("SET work_mem = '77MB'")
        assert await pool.fetchval(prepared) == kept
        for gone in ("PREPARE theirs AS SELECT 1", "DISCARD ALL", "DEALLOCATE ALL"):
            await pool.execute(gone)
            assert await pool.fetchval("SELECT 1") == 1
            assert await pool.fetchval(prepared) <= kept
        assert pool.managed.snapshot().created == 1

    asyncio.run(main())


OTHER_NAMES = {
    "temporary table": "CREATE TEMP TABLE meant (x int)",
    "search path": "SET search_path = elsewhere",
    "search path of a transaction": "BEGIN; SET LOCAL search_path = elsewhere",
    "schema": "SET SCHEMA 'elsewhere'",
    "setting": "BEGIN; SELECT set_config('search' || '_path', 'elsewhere', true)",
    "in a block": "DO $$ BEGIN SET search_path = elsewhere; END $$",
}


@pytest.mark.parametrize(
    "other", [*list(OTHER_NAMES)[:1], *(pytest.param(each, marks=pytest.mark.long) for each in list(OTHER_NAMES)[1:])]
)
def test_what_is_prepared_of_a_name_that_meant_something_else_is_nobody_else_s(make: Make, other: str) -> None:  # P2
    pool, question = make(), "SELECT count(*) FROM meant WHERE x = $1"

    async def main() -> None:
        await pool.execute(
            "CREATE TABLE IF NOT EXISTS meant (x text); CREATE SCHEMA IF NOT EXISTS elsewhere;"
            " CREATE TABLE IF NOT EXISTS elsewhere.meant (x int)"
        )
        for _ in range(2):
            async with pool.acquire() as conn:
                assert await conn.fetchval(question, "a text") == 0
                await conn.execute(OTHER_NAMES[other])
                assert await conn.fetchval(question, 7) == 0
                await conn.execute("COMMIT")
            async with pool.acquire() as conn, conn.transaction():
                assert await conn.fetchval(question, "a text") == 0
        assert pool.managed.snapshot().created == 1

    asyncio.run(main())


@pytest.mark.long
def test_what_a_function_has_left_is_wiped_where_its_caller_says_so(make: Make) -> None:  # P2
    pool = make()

    async def main() -> None:
        await pool.execute(
            "CREATE OR REPLACE FUNCTION leave() RETURNS text LANGUAGE sql AS $$"
            " SELECT pg_advisory_lock(7)::text || set_config('work_mem', '77MB', false) $$"
        )
        async with pool.acquire() as conn:
            await conn.execute("SELECT leave()")
            await conn.reset()
        async with pool.acquire() as conn:
            assert await conn.fetchval("SHOW work_mem") != "77MB"
            assert not await conn.fetchval(LOCKS)

    asyncio.run(main())


def test_what_nothing_removes_costs_the_connection(make: Make) -> None:  # P2
    pool = make()

    async def main() -> None:
        async with pool.acquire() as conn:
            first = await conn.fetchval(PID)
            await conn.execute("SELECT setseed(0.5)")
        assert await pool.fetchval(PID) != first

    asyncio.run(main())


def test_how_a_borrower_has_types_read_is_nobody_else_s(make: Make) -> None:  # P2
    pool = make()

    async def main() -> None:
        async with pool.acquire() as conn:
            await conn.set_type_codec("json", schema="pg_catalog", encoder=str, decoder=len)
            assert await conn.fetchval("SELECT '[1, 2]'::json") == 6
        assert await pool.fetchval("SELECT '[1, 2]'::json") == "[1, 2]"

    asyncio.run(main())


def test_statement_prepared_by_a_name_is_in_nobody_else_s_way(make: Make) -> None:  # P2
    pool = make()

    async def main() -> None:
        kept = []
        for number in range(2):
            async with pool.acquire() as conn:
                prepared = await conn.prepare(f"SELECT {number}", name="theirs")
                kept.clear()  # the one before is dropped only now
                await conn.fetch("SELECT 'something else'")
                assert await prepared.fetchval() == number
                kept.append(prepared)

    asyncio.run(main())


def test_types_that_asyncpg_has_to_ask_for_leave_nothing_behind(make: Make) -> None:
    pool = make()

    async def main() -> None:
        await pool.execute("CREATE TYPE pair AS (a int, b int)")
        assert tuple(await pool.fetchval("SELECT (1, 2)::pair")) == (1, 2)
        assert pool.managed.snapshot().cleaned == 0

    asyncio.run(main())


def test_what_is_told_of_a_connection_goes_to_its_borrower_alone(make: Make) -> None:  # P2
    pool, told = make(), []

    def tell(*args: Any) -> None:
        told.append(args)

    async def main() -> None:
        async with pool.acquire() as conn:
            await conn.add_listener("news", tell)
            conn.add_log_listener(tell)
            conn.add_query_logger(tell)
            conn.add_termination_listener(tell)
            with pytest.warns(asyncpg.InterfaceWarning, match="notification listener"):
                await pool.release(conn)
        async with pool.acquire() as conn:
            await conn.execute("NOTIFY news; DO $$ BEGIN RAISE NOTICE 'hello'; END $$")
            conn.terminate()
            await pool.release(conn)
        await asyncio.sleep(0)
        assert told == []

    asyncio.run(main())


@pytest.mark.long
@pytest.mark.filterwarnings("ignore::asyncpg.InterfaceWarning")
def test_listener_at_a_channel_of_the_site_s_hears_for_its_borrower_alone(make: Make) -> None:  # P2
    heard: list[str] = []

    def listener(name: str) -> Callable[..., None]:
        return lambda *args: heard.append(name)

    site_s, theirs = listener("the site's"), listener("theirs")

    async def init(conn: Any) -> None:
        await conn.add_listener("news", site_s)

    pool = make(init=init)

    async def main() -> None:
        for change in ("add_listener", "remove_listener"):
            async with pool.acquire() as conn:
                await getattr(conn, change)("news", theirs if change == "add_listener" else site_s)
            heard.clear()
            await pool.execute("NOTIFY news")
            await when(lambda: heard)
            assert heard == ["the site's"]

    asyncio.run(main())


@pytest.mark.long
def test_what_the_site_is_told_by_no_borrower_can_take_away(make: Make) -> None:  # P2
    told: list[str] = []

    def tell(conn: Any, message: Any) -> None:
        told.append(message.message)

    async def init(conn: Any) -> None:
        conn.add_log_listener(tell)

    pool = make(init=init)

    async def main() -> None:
        async with pool.acquire() as conn:
            conn.remove_log_listener(tell)
        await pool.execute("DO $$ BEGIN RAISE NOTICE 'hello'; END $$")
        await when(lambda: told == ["hello"])

    asyncio.run(main())


def test_open_transaction_is_rolled_back_and_told_of(make: Make) -> None:  # P2
    pool, told = make(), []

    async def main() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: told.append(context["message"]))
        await pool.execute("CREATE TABLE kept (a int)")
        async with pool.acquire() as conn:
            await conn.transaction().start()
            await conn.execute("INSERT INTO kept VALUES (1)")
        assert "active transaction" in told[0]
        assert await pool.fetchval("SELECT count(*) FROM kept") == 0
        async with pool.acquire() as conn, conn.transaction():
            assert not await conn.fetchval("SELECT count(*) FROM pg_prepared_xacts")

    asyncio.run(main())


@pytest.mark.filterwarnings("error::asyncpg.InterfaceWarning")
def test_warning_that_is_an_error_costs_no_place(make: Make) -> None:  # P4
    pool = make()

    async def main() -> None:
        conn = await pool.acquire()
        await conn.add_listener("news", lambda *args: None)
        with pytest.raises(asyncpg.InterfaceWarning):
            await pool.release(conn)
        assert await pool.fetchval("SELECT count(*) FROM pg_listening_channels()") == 0

    asyncio.run(main())


# -- who has it -------------------------------------------------------------------------------------------------------


def test_what_was_released_is_over_for_who_keeps_it(make: Make) -> None:  # P3
    pool = make()

    async def main() -> None:
        async with pool.acquire() as conn:
            prepared = await conn.prepare("SELECT 1")
        async with pool.acquire() as other:
            uses = (lambda: conn.fetchval("SELECT 1"), prepared.fetch, lambda: conn.transaction().start(), conn.close)
            for use in uses:
                with pytest.raises(asyncpg.InterfaceError, match="released back"):
                    await use()
            with pytest.raises(asyncpg.InterfaceError, match="released back"):
                conn.terminate()
            await pool.release(conn)  # a second time, which does nothing
            assert await other.fetchval("SELECT 1") == 1
        assert repr(conn).startswith("<Lent [released]")

    asyncio.run(main())


def test_call_that_begins_only_after_the_release_reaches_nobody_s_connection(make: Make, look: Look) -> None:  # P3
    pool = make()

    async def main() -> None:
        async with pool.acquire() as conn:
            prepared = await conn.prepare("SELECT pg_sleep(60)")
            async with conn.transaction():
                cursor = await conn.cursor("SELECT pg_sleep(60)")
                rows = aiter(prepared.cursor())
            begun = conn.transaction()
            await begun.start()
            calls = (
                *(conn.execute("SELECT pg_sleep(60)"), conn.close(), conn.transaction().start(), begun.commit()),
                *(begun.rollback(), prepared.fetch(), prepared.fetchval(), prepared.explain(analyze=True)),
                *(prepared.executemany([()]), cursor.fetch(1), cursor.fetchrow(), cursor.forward(1), anext(rows)),
            )
            late = [asyncio.ensure_future(each) for each in calls]
            begun._managed = True  # of which asyncpg tells nobody
        async with pool.acquire() as other, other.transaction():
            await asyncio.sleep(0)
            assert await other.fetchval("SELECT 1") == 1
            await asyncio.sleep(0)
            assert await other.fetchval("SELECT 1") == 1
        for each in late:
            with pytest.raises(asyncpg.InterfaceError, match="released back"):
                await each

    asyncio.run(main())


def test_what_is_not_the_pool_s_is_not_taken(make: Make, url: str) -> None:
    pool = make()

    async def main() -> None:
        theirs = await asyncpg.connect(url)
        async with make().acquire() as of_another:
            for each in (theirs, of_another, None):
                with pytest.raises(asyncpg.InterfaceError, match="not a member of this pool"):
                    await pool.release(each)
        await theirs.close()

    asyncio.run(main())


def test_connection_that_comes_back_in_the_middle_of_a_statement_is_stopped_and_closed(
    make: Make, look: Look
) -> None:  # P3 P6
    pool = make()

    async def main() -> None:
        for sleep in ("execute", "fetch"):
            conn = await pool.acquire()
            running = asyncio.ensure_future(getattr(conn, sleep)("SELECT pg_sleep(60)"))
            await when(lambda: look(AT_WORK))
            await pool.release(conn)
            with suppress(asyncpg.PostgresError, asyncpg.InterfaceError):
                await running
            assert await pool.fetchval("SELECT 1") == 1
            assert len(look(SESSIONS)) == 1

    asyncio.run(main())


def test_copy_whose_reader_is_slow_is_not_handed_on(make: Make) -> None:  # P3
    pool, came, go = make(), asyncio.Event(), asyncio.Event()

    async def read(data: bytes) -> None:
        came.set()
        await go.wait()

    async def main() -> None:
        conn = await pool.acquire()
        copying = asyncio.ensure_future(conn.copy_from_query("SELECT generate_series(1, 1000000)", output=read))
        await came.wait()
        await pool.release(conn)
        async with pool.acquire() as other:
            assert await other.fetchval("SELECT 1") == 1
            go.set()
            with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError, AttributeError)):
                await copying
            assert await other.fetchval("SELECT 1") == 1

    asyncio.run(main())


def test_connection_that_was_dropped_comes_back(make: Make) -> None:  # P4
    pool = make()

    async def main() -> None:
        conn = await pool.acquire()
        await conn.transaction().start()
        del conn
        gc.collect()
        assert await pool.fetchval("SELECT 1") == 1
        assert pool.managed.snapshot().reclaimed == 1

    asyncio.run(main())


ENDS = {
    "close": lambda conn: conn.close(),
    "terminate": lambda conn: _terminated(conn),
    "abort": lambda conn: _refused(conn.execute("SELECT '\ud800'"), UnicodeEncodeError),
    "killed": lambda conn: _refused(conn.execute(f"SELECT pg_terminate_backend({PID[7:]})"), asyncpg.PostgresError),
}


async def _terminated(conn: Any) -> None:
    conn.terminate()


async def _refused(running: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        await running


@pytest.mark.parametrize("end", ENDS)
def test_place_of_what_its_borrower_has_closed_is_free_at_once(make: Make, end: str) -> None:  # P4
    pool = make()

    async def main() -> None:
        conn = await pool.acquire()
        first = await conn.fetchval(PID)
        await ENDS[end](conn)
        async with pool.acquire() as other:
            assert await other.fetchval(PID) != first
            await pool.release(conn)  # which has no effect
            assert await other.fetchval("SELECT 1") == 1
            assert (pool.managed.snapshot().used, len(pool.managed.living)) == (1, 1)

    asyncio.run(main())


@pytest.mark.long
def test_borrowers_who_close_what_they_have_keep_the_bound_and_lose_no_place(make: Make, look: Look) -> None:  # P4 P6
    pool = make(max_size=2, connection_timeout=30.0)
    ways = [lambda conn: conn.close(), _terminated, lambda conn: conn.fetchval("SELECT 1")]

    async def use(number: int) -> None:
        conn = await pool.acquire()
        await ways[number % 3](conn)
        await pool.release(conn)

    async def main() -> None:
        await asyncio.gather(*map(use, range(90)))
        managed = pool.managed
        await when(lambda: managed.load()[1:] == (0, 0) and len(managed.idle) == managed.places, f"{managed!r}")
        assert managed.places <= 2
        assert managed.snapshot().left_behind == 0
        assert len(look(SESSIONS)) <= 2

    asyncio.run(main())


async def _collect() -> None:
    gc.collect()


@pytest.mark.parametrize("elsewhere", [False, True])
def test_pool_that_nobody_has_any_more_leaves_no_session_behind(make: Make, look: Look, elsewhere: bool) -> None:  # P4
    async def main() -> None:
        await make().fetchval("SELECT 1")
        assert look(SESSIONS)
        collect = partial(asyncio.to_thread, gc.collect) if elsewhere else _collect
        with pytest.warns(ResourceWarning, match="unclosed connection"):
            await collect()
        await when(lambda: not look(SESSIONS), "the session to end")

    asyncio.run(main())


def test_what_another_task_goes_on_with_stays_with_it(make: Make) -> None:  # P3
    pool = make()

    async def main() -> None:
        conn = await asyncio.create_task(pool._acquire(None))
        first = await conn.fetchval(PID)
        await asyncio.sleep(4)  # longer than what a task that ended has left is waited for
        assert await conn.fetchval(PID) == first
        await pool.release(conn)

    asyncio.run(main())


# -- loops, threads, processes ----------------------------------------------------------------------------------------


def test_connection_of_another_loop_is_refused_before_asyncpg_is_reached(make: Make) -> None:  # P3
    pool = make()
    here = asyncio.new_event_loop()

    async def begin() -> tuple[Any, Any]:
        conn = await pool.acquire()
        return conn, await conn.prepare("SELECT 1")

    conn, prepared = here.run_until_complete(begin())

    async def elsewhere() -> None:
        uses = (
            *(lambda: conn.execute("SELECT 1"), lambda: conn.fetch("SELECT 1"), lambda: conn.prepare("SELECT 1")),
            *(lambda: conn.executemany("SELECT 1", []), prepared.fetch, conn.close, lambda: conn.transaction().start()),
            lambda: conn.copy_from_query("SELECT 1", output=_nothing),
            lambda: conn.copy_records_to_table("none", records=[]),
            lambda: conn.reset_type_codec("json"),
            lambda: pool.release(conn),
        )
        for use in uses:
            with pytest.raises(asyncpg.InterfaceError, match="of another event loop"):
                await use()
        with pytest.raises(asyncpg.InterfaceError, match="of another event loop"):
            conn.terminate()

    asyncio.run(elsewhere())
    assert here.run_until_complete(conn.fetchval("SELECT 1")) == 1
    here.run_until_complete(pool.release(conn))
    here.run_until_complete(here.shutdown_asyncgens())
    here.close()


def test_loops_of_two_threads_use_one_pool_at_once(make: Make) -> None:  # P3
    pool, pids, errors = make(max_size=2), {}, []
    both = threading.Barrier(2)

    async def use(number: int) -> None:
        async with pool.acquire() as conn:
            pids[number] = await conn.fetchval(PID)
            await asyncio.to_thread(both.wait, 10)
        for _ in range(200):
            assert await pool.fetchval("SELECT $1::int", number) == number

    def run(number: int) -> None:
        try:
            asyncio.run(use(number))
        except BaseException as ex:
            errors.append(ex)

    threads = [threading.Thread(target=run, args=[number]) for number in range(2)]
    for each in threads:
        each.start()
    for each in threads:
        each.join(60)
    assert errors == []
    assert pids[0] != pids[1]


def test_loop_that_ends_closes_its_connections_and_the_next_begins_anew(make: Make, look: Look) -> None:  # P4
    pool = make()
    first = asyncio.run(_pid_of(pool))
    until(lambda: not look(SESSIONS))
    assert asyncio.run(_pid_of(pool)) != first


@pytest.mark.filterwarnings("ignore:unclosed")
def test_loop_that_was_closed_without_an_end_leaves_nothing(make: Make, look: Look) -> None:  # P4
    pool = make()
    loop = asyncio.new_event_loop()
    conn = loop.run_until_complete(pool._acquire(None))
    running = loop.create_task(conn.execute("SELECT pg_sleep(60)"))
    loop.run_until_complete(asyncio.sleep(0.05))
    assert look(AT_WORK)
    loop.close()
    assert asyncio.run(_pid_of(pool))
    until(lambda: not look(SESSIONS), "the statement of a loop that is gone to be stopped")
    del running


async def _pid_of(pool: AsyncpgPool) -> int:
    return int(await pool.fetchval(PID))


def test_forked_child_has_connections_of_its_own(make: Make, look: Look) -> None:  # P3
    pool = make()
    loop = asyncio.new_event_loop()
    conn = loop.run_until_complete(pool._acquire(None))
    mine = loop.run_until_complete(conn.fetchval(PID))

    def child() -> str:
        refused = "used"
        try:
            asyncio.run(_use(conn))
        except asyncpg.InterfaceError:
            refused = "refused"
        asyncio.run(pool.release(conn))
        return f"{refused} {asyncio.run(_pid_of(pool)) != mine}"

    assert in_child(child) == "refused True"
    assert loop.run_until_complete(conn.fetchval(PID)) == mine
    loop.run_until_complete(pool.release(conn))
    loop.run_until_complete(loop.shutdown_asyncgens())
    loop.close()


async def _use(conn: Any) -> None:
    await conn.fetchval("SELECT 1")


# -- deadlines and cancelling -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("validation", ["socket", "query"])
def test_task_that_is_cancelled_at_whichever_step_loses_no_connection(
    make: Make, look: Look, validation: str
) -> None:  # P2 P3 P4
    pool = make(validation=validation)

    async def use() -> None:
        async with pool.acquire() as conn, conn.transaction():
            await conn.fetchval("SELECT 1")
            await conn.execute("SET work_mem = '77MB'")

    async def main(at: int) -> bool:
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: None)
        await pool.fetchval("SELECT 1")
        managed = pool.managed
        cancelled = Cancelled(at)
        await cancelled.within(use())
        await when(lambda: managed.load()[1:] == (0, 0) and len(managed.idle) == managed.places, f"{managed!r}")
        assert await pool.fetchval("SHOW work_mem") != "77MB"
        assert (managed.snapshot().reclaimed, managed.snapshot().left_behind) == (0, 0)
        return cancelled.steps >= at

    at = 1
    while asyncio.run(main(at)):
        at += 1
    assert at > 5  # begin, two statements, commit, the wipe


@pytest.mark.long
def test_release_that_is_cancelled_in_its_wipe_stops_nothing(make: Make) -> None:  # P2 P4
    pool, wiping = make(), asyncio.Event()

    async def leave() -> None:
        async with pool.acquire() as conn:
            await conn.execute("SET work_mem = '77MB'; BEGIN")
            wiping.set()

    async def main(at: int) -> bool:
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: None)
        first = await pool.fetchval(PID)
        cancelled = Cancelled(at)
        await cancelled.within(leave())
        async with pool.acquire() as conn:
            assert await conn.fetchval(PID) == first
            assert await conn.fetchval("SHOW work_mem") != "77MB"
            assert not conn.is_in_transaction()
        return cancelled.steps >= at

    at = 1
    while asyncio.run(main(at)):
        at += 1
    assert at > 2  # the statement and the wipe

    async def end_with_the_loop() -> None:
        wiping.clear()
        leaving = asyncio.create_task(leave())
        await wiping.wait()
        leaving.cancel()

    asyncio.run(end_with_the_loop())


def test_statement_that_is_cancelled_is_stopped_and_the_connection_stays(make: Make, look: Look) -> None:  # P4 P8
    pool = make()

    async def main() -> None:
        first = await pool.fetchval(PID)
        for sleep in (pool.execute, pool.fetch):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.1):
                    await sleep("SELECT pg_sleep(60)")
        with pytest.raises(TimeoutError):
            await pool.fetch("SELECT pg_sleep(60)", timeout=0.1)
        assert not look(AT_WORK)
        assert await pool.fetchval(PID) == first

    asyncio.run(main())


def test_frozen_server_keeps_nobody_beyond_the_deadline(make: Make) -> None:  # P4 P6 P8
    pool = make(max_size=2, connection_timeout=2.0)

    async def main() -> None:
        conn = await pool.acquire()
        frozen = await conn.fetchval(PID)
        await conn.execute("SET work_mem = '77MB'")
        os.kill(frozen, signal.SIGSTOP)
        try:
            async with asyncio.timeout(4):
                await pool.release(conn, timeout=0.3)
                assert await pool.fetchval(PID) != frozen
                await when(lambda: pool.managed.snapshot().left_behind == 1)
        finally:
            os.kill(frozen, signal.SIGCONT)

    asyncio.run(main())


def test_connection_that_asyncpg_aborts_keeps_its_place_until_the_server_s_process_is_gone(make: Make) -> None:  # P6
    pool = make(connection_timeout=2.0)

    async def main() -> None:
        conn = await pool.acquire()
        frozen = await conn.fetchval(PID)
        os.kill(frozen, signal.SIGSTOP)
        try:
            with pytest.raises(UnicodeEncodeError):
                await conn.execute("SELECT '\ud800'")
            await pool.release(conn)
            assert await pool.fetchval(PID) != frozen
            assert pool.managed.snapshot().left_behind == 1
        finally:
            os.kill(frozen, signal.SIGCONT)

    asyncio.run(main())


def test_close_waits_for_borrowers_until_its_deadline_and_breaks_off_the_rest(make: Make, look: Look) -> None:  # P8
    pool = make(max_size=2)

    async def main() -> None:
        conn, other = await pool.acquire(), await pool.acquire()
        closing = asyncio.create_task(pool.close(timeout=0.5))
        await when(pool.is_closing)
        assert await conn.fetchval("SELECT 1") == 1
        await pool.release(conn)
        running = asyncio.ensure_future(other.execute("SELECT pg_sleep(60)"))
        await closing
        with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError)):
            await running
        await pool.release(other)
        await when(lambda: not look(SESSIONS))
        assert await pool.fetchval("SELECT 1") == 1  # which opens another

    asyncio.run(main())


@pytest.mark.skipif(sys.platform != "linux", reason="what the kernel knows of silence")
def test_silent_host_is_not_believed_for_ever(make: Make) -> None:  # P8
    pool = make()

    async def main() -> None:
        async with pool.acquire() as conn:
            with socket.socket(fileno=os.dup(conn._con.fileno())) as copy:
                assert copy.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
                assert 0 < copy.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) <= 30_000

    asyncio.run(main())


def test_statement_in_use_when_the_lease_ends_is_stopped(make: Make, look: Look) -> None:  # P6
    pool = make()

    async def main() -> None:
        conn = await pool.acquire()
        running = asyncio.ensure_future(conn.execute("SELECT pg_sleep(60)"))
        await when(lambda: look(AT_WORK))
        now = asyncio.get_running_loop().time()
        pool.managed.limit(Allowance(1, lapses=now + 0.1, ends=now + 0.2))
        with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError)):
            await asyncio.wait_for(running, 5)
        await pool.release(conn)
        await when(lambda: not look(SESSIONS))

    asyncio.run(main())


def test_statement_of_a_task_that_ended_is_stopped(make: Make, look: Look) -> None:  # P4 P6
    pool, kept = make(), []

    async def leave() -> None:
        conn = await pool.acquire()
        kept.append(asyncio.ensure_future(conn.fetch("SELECT pg_sleep(60)")))
        await asyncio.sleep(0.05)

    async def main() -> None:
        await asyncio.create_task(leave())
        pool.managed.leave()
        with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError)):
            await kept[0]
        await when(lambda: not look(SESSIONS))

    asyncio.run(main())


def test_idle_connection_that_the_server_closed_is_never_handed_out(make: Make, look: Look) -> None:  # P7
    pool = make()

    async def main() -> None:
        for wait in (False, True):
            first = await pool.fetchval(PID)
            look(f"SELECT pg_terminate_backend({first})")
            await when(lambda gone=first: gone not in look(SESSIONS))
            if wait:
                await asyncio.sleep(0.05)  # the loop reads of it
            assert await pool.fetchval(PID) != first

    asyncio.run(main())


BEGINNINGS = {
    "fetch": lambda conn: conn.fetch("SELECT 1"),
    "execute": lambda conn: conn.execute("SELECT 1"),
    "transaction": lambda conn: conn.transaction().start(),
    "prepare": lambda conn: conn.prepare("SELECT 1"),
}


@pytest.mark.long
@pytest.mark.parametrize("way", BEGINNINGS)
def test_server_that_said_its_last_between_two_statements_costs_their_borrower_alone_an_error(  # P7 P9
    url: str, look: Look, way: str
) -> None:
    proxy = Proxy(urlsplit(url).port or 5432)
    proxy.keeps_ends = True
    settings = {"max_size": 1, "connection_timeout": 5.0}
    pool = AsyncpgPool(Maker(of_url(url.replace(f":{proxy.server[1]}/", f":{proxy.port}/"), {})), pool=settings)

    async def main() -> None:
        async with pool.acquire() as conn:
            first = await conn.fetchval(PID)
            look(f"SELECT pg_terminate_backend({first})")
            await when(lambda: first not in look(SESSIONS))
            await asyncio.sleep(0.1)  # the loop reads of it
            with pytest.raises(asyncpg.ConnectionDoesNotExistError):
                await BEGINNINGS[way](conn)
        assert await pool.fetchval(PID) != first

    try:
        asyncio.run(main())
    finally:
        proxy.close()


# -- hooks and vectors ------------------------------------------------------------------------------------------------


def test_hooks_are_called_and_what_they_set_stays(make: Make) -> None:
    called = []

    async def init(conn: Any) -> None:
        called.append("init")
        await conn.execute("SET work_mem = '66MB'")
        await conn.set_type_codec("json", schema="pg_catalog", encoder=str, decoder=len)

    async def setup(conn: Any) -> None:
        called.append("setup")

    pool = make(init=init, setup=setup)

    async def main() -> None:
        for statement in ("SELECT 1", "SET work_mem = '77MB'", "SELECT 1"):
            async with pool.acquire() as conn:
                assert await conn.fetchval("SHOW work_mem") == "66MB"
                assert await conn.fetchval("SELECT '[1, 2]'::json") == 6
                await conn.execute(statement)
        assert called == ["init", "setup", "setup", "init", "setup"]
        assert pool.managed.snapshot().created == 1

    asyncio.run(main())


def test_hook_that_fails_is_told_as_it_is_and_costs_no_place(make: Make) -> None:  # P4 P9
    fails = True

    async def fail(conn: Any) -> None:
        await conn.execute("SET work_mem = '77MB'")
        if fails:
            raise LookupError("the site's own")

    for hook in ("init", "setup"):
        fails = True
        pool = make(**{hook: fail})

        async def main(pool: AsyncpgPool = pool) -> None:
            nonlocal fails
            with pytest.raises(LookupError, match="the site's own"):
                await pool.acquire()
            fails = False
            assert await pool.fetchval("SELECT 1") == 1

        asyncio.run(main())


def test_setup_that_hangs_ends_with_the_deadline_of_the_checkout(make: Make) -> None:  # P8
    async def hang(conn: Any) -> None:
        await conn.execute("SELECT pg_sleep(60)")

    async def main() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(4):
                await make(setup=hang).acquire(timeout=0.2)

    asyncio.run(main())


@pytest.fixture
def without(postgres: Any) -> Iterator[tuple[str, Callable[[str], None]]]:
    """The URL of a database without pgvector, and what has its superuser say something there."""
    url = str(postgres.create_database("without", extensions=()))

    def say(statement: str) -> None:
        with psycopg.connect(postgres.superuser_url("without"), autocommit=True) as console:
            console.execute(statement.encode())

    say("DROP EXTENSION IF EXISTS vector")  # which the server's template may have
    yield url, say
    say("DROP EXTENSION IF EXISTS vector; DROP SCHEMA IF EXISTS elsewhere")


def test_vectors_go_in_and_come_out_on_every_connection(without: tuple[str, Callable[[str], None]]) -> None:
    url, say = without
    pool = AsyncpgPool(Maker(of_url(url, {}), vector=True), pool={"max_size": 2, "connection_timeout": 5.0})

    async def main() -> None:
        with pytest.raises(exceptions.ConfigurationError, match="CREATE EXTENSION vector"):
            await pool.acquire()
        say(
            "CREATE SCHEMA elsewhere; GRANT USAGE ON SCHEMA elsewhere TO public; CREATE EXTENSION vector SCHEMA elsewhere"
        )
        async with pool.acquire() as one, pool.acquire() as two:
            for conn in (one, two):
                found = await conn.fetchval("SELECT $1::elsewhere.vector", [1.0, 2.0, 3.0])
                assert found.to_list() == [1.0, 2.0, 3.0]
        assert pool.managed.snapshot().cleaned == 0

    asyncio.run(main())


@pytest.mark.long
def test_vectors_of_an_extension_that_was_made_anew_are_learned(without: tuple[str, Callable[[str], None]]) -> None:
    url, say = without
    pool = AsyncpgPool(Maker(of_url(url, {}), vector=True), pool={"max_size": 2, "connection_timeout": 5.0})
    say("CREATE EXTENSION vector")
    questions = ("SELECT '[1,2]'::vector", "SELECT ARRAY['[1,2]'::vector]", "SELECT $1::vector")

    async def ask(conn: Any, question: str) -> str:
        return str(await conn.fetchval(question, *([[1.0, 2.0]] if "$1" in question else [])))

    async def main() -> None:
        async with pool.acquire() as one, pool.acquire() as two:
            first = [await ask(conn, question) for conn in (one, two) for question in questions]
            assert first[0] == "Vector([1.0, 2.0])"
            say("DROP EXTENSION vector; CREATE EXTENSION vector")
            with suppress(asyncpg.InternalServerError):  # it is told of a type that is gone; the next are not
                await ask(one, questions[2])
            assert [await ask(conn, question) for conn in (one, two) for question in questions] == first
        assert pool.managed.snapshot().created == 2

    asyncio.run(main())


# -- targets ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def declare(settings: Any, url: str) -> Iterator[Callable[..., str]]:
    without_agent()

    def one(**target: Any) -> str:
        target = {"KIND": "asyncpg", "POOL": {"max_size": 3}, **target}
        settings.POOLMGR = {**settings.POOLMGR, "AGENT": False, "TARGETS": {"vectors": target}}
        return "vectors"

    yield one
    registry.close("vectors")
    registry.set_desired({})


def test_declared_target_is_handed_out_and_follows_its_profile(
    declare: Callable[..., str], url: str, look: Look
) -> None:  # P5
    target = declare(URL=url)

    async def main() -> None:
        pool = poolmgr.aio.pool(target)
        assert poolmgr.aio.pool(target) is pool
        async with pool.acquire() as conn:
            assert await conn.fetchval(PID) in look(SESSIONS)
            assert (await conn.fetchval("SHOW application_name")).startswith("poolmgr:")
            group = registry.get(target)
            assert group is not None
            seen = group.snapshot()
            assert (seen.target, seen.kind, seen.max_size, seen.used) == (target, "asyncpg", 3, 1)
            registry.set_desired({target: Desired(ASYNCPG.make_spec({"max_size": 7}), "profile 1", 1)})
            assert pool.get_max_size() == 7

    asyncio.run(main())
    until(lambda: not look(SESSIONS))
    with pytest.raises(exceptions.ConfigurationError, match="for asyncio alone"):
        poolmgr.pool(target)
    assert [each for each in run_checks() if each.id == "poolmgr.E008"] == []


def test_declared_target_may_be_a_database_of_django_s(
    declare: Callable[..., str], settings: Any, transactional_db: None
) -> None:
    target = declare(DATABASE="default", OPTIONS={"server_settings": {"work_mem": "66MB"}})

    async def main() -> None:
        async with poolmgr.aio.pool(target).acquire() as conn:
            assert await conn.fetchval("SELECT current_database()") == settings.DATABASES["default"]["NAME"]
            assert await conn.fetchval("SHOW work_mem") == "66MB"
            await conn.execute("SET work_mem = '77MB'")
        assert await poolmgr.aio.pool(target).fetchval("SHOW work_mem") == "66MB"

    asyncio.run(main())


def test_health_check_asks_in_a_loop_of_its_own(declare: Callable[..., str], url: str, look: Look) -> None:
    target = declare(URL=url)
    seen = Probe(target, 5.0, lambda: "SELECT 1").result(())
    assert seen.state == "ok", seen.message
    assert seen.connect_time
    assert seen.query_time
    assert seen.server_version.startswith("PostgreSQL ")
    assert seen.server_used
    until(lambda: not look(SESSIONS))
    wrong = Probe(target, 5.0, lambda: "SELECT 1/0").result(())
    assert (wrong.state, "validation query fails" in wrong.message) == ("critical", True), wrong.message


WRONG = {
    "must have one of URL and DATABASE, and has none": {},
    "must have one of URL and DATABASE, and has both": {"URL": "postgresql://host/name", "DATABASE": "default"},
    "['URL'] is a value that is not shown, but must be a URL such as postgresql://": {
        "URL": "mysql://me:planted@host/name"
    },
    "['DATABASE'] is a value that is not shown, but must be an alias": {"DATABASE": "none"},
    "['VECTOR']": {"DATABASE": "default", "VECTOR": "yes"},
    "['INIT'] is 'nowhere.at_all', which can't be imported": {"DATABASE": "default", "INIT": "nowhere.at_all"},
    "['SETUP'] is 'os.sep', which is nothing that can be called": {"DATABASE": "default", "SETUP": "os.sep"},
    "['OPTIONS'] has 'dsn'": {"DATABASE": "default", "OPTIONS": {"dsn": "postgresql://me:planted@host"}},
    "pool_mode": {"DATABASE": "default", "POOL": {"pool_mode": "transaction"}},
}


@pytest.mark.parametrize("sentence", WRONG)
def test_declaration_that_is_wrong_is_told_by_its_key(declare: Callable[..., str], sentence: str) -> None:  # P13
    target = declare(**WRONG[sentence])
    with pytest.raises(exceptions.ConfigurationError) as caught:
        poolmgr.aio.pool(target)
    assert sentence in str(caught.value)
    assert not disclosures(caught.value, "planted")
    assert sentence in " ".join(each.msg for each in run_checks() if each.id == "poolmgr.E008")


def test_what_the_settings_say_of_the_server_is_told_at_once(url: str) -> None:  # P9
    pool = AsyncpgPool(Maker(of_url("postgresql://localhost/name?sslmode=maybe", {})), pool={"connection_timeout": 60})
    with pytest.raises(asyncpg.ClientConfigurationError, match="sslmode"):
        asyncio.run(_pid_of(pool))


def test_deadline_that_comes_while_the_server_is_away_is_a_timeout_as_asyncpg_s_is() -> None:  # P8 P9
    pool = AsyncpgPool(Maker(of_url(f"postgresql://nobody@127.0.0.1:{free_port()}/name", {})))

    async def main() -> None:
        with pytest.raises(TimeoutError) as caught:
            await pool.acquire(timeout=0.2)
        assert isinstance(caught.value, exceptions.ServerDown)
        assert isinstance(caught.value, ConnectionError)

    asyncio.run(main())


@pytest.mark.parametrize("cls", ERRORS.values(), ids=lambda cls: cls.__name__)
def test_errors_can_be_sent_to_another_process(cls: type[Exception]) -> None:
    error: Any = pickle.loads(pickle.dumps(cls("no connection", "vectors")))
    assert (type(error), str(error), error.target) == (cls, "no connection", "vectors")


def test_password_is_in_no_error(url: str) -> None:  # P13
    maker = Maker(of_url(url.replace(f":{urlsplit(url).password}@", f":{PLANTED}@"), {}))
    pool = AsyncpgPool(maker, pool={"connection_timeout": 2})
    with pytest.raises(exceptions.AuthenticationFailed) as caught:
        asyncio.run(_pid_of(pool))
    assert not disclosures(caught.value, PLANTED)
