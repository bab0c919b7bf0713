"""Django's connection of a task: from which pool, for how long, and as Django wants it."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import psycopg
import pytest
from django.contrib.auth.models import Group
from django.db import IntegrityError, ProgrammingError, connections
from django.db.backends.signals import connection_created
from django.db.transaction import TransactionManagementError, atomic
from django_async_backend.db import async_connections, async_new_connection
from django_async_backend.db.models.query import QuerySet
from django_async_backend.db.transaction import async_atomic
from psycopg.types.range import Range

from poolmgr.exceptions import ModeError, PoolExhausted, PoolPaused
from poolmgr.pools.desired import Desired
from poolmgr.pools.spec import make_spec
from poolmgr.targets.postgresql.managed import ManagedPool
from tests.async_django.conftest import ALIAS
from tests.forking import in_child
from tests.threads import at_once
from tests.waiting import until, when

Declare = Callable[..., ManagedPool]


async def one(statement: str, *parameters: Any) -> Any:
    async with await async_connections[ALIAS].cursor() as cursor:
        await cursor.execute(statement, parameters or None)
        return (await cursor.fetchone())[0]


async def run(statement: str) -> None:
    async with await async_connections[ALIAS].cursor() as cursor:
        await cursor.execute(statement)


async def pid() -> int:
    return int(await one("SELECT pg_backend_pid()"))


def one_by_thread(statement: str) -> Any:
    with connections[ALIAS].cursor() as cursor:
        cursor.execute(statement)
        row = cursor.fetchone()
        assert row is not None
        return row[0]


def is_free(managed: ManagedPool) -> bool:
    return managed.load()[1:] == (0, 0)


# -- for how long -------------------------------------------------------------------------------------------------------


def test_session_mode_keeps_the_connection_until_it_is_closed(declare: Declare) -> None:  # P1
    managed = declare({"pool_mode": "session"})

    async def main() -> None:
        first = await pid()
        async with async_atomic(ALIAS):
            assert await pid() == first
        assert managed.load().used == 1
        assert "main" in managed.snapshot().holders[0].thread
        await async_connections[ALIAS].close()
        assert is_free(managed)
        assert await pid() == first
        await async_connections[ALIAS].close()

    asyncio.run(main())
    assert managed.snapshot().created == 1


def test_transaction_mode_gives_it_back_after_each_statement_and_transaction(declare: Declare) -> None:  # P1
    managed = declare({"pool_mode": "transaction"})

    async def main() -> None:
        await pid()
        assert is_free(managed)
        async with async_atomic(ALIAS):
            first = await pid()
            assert managed.load().used == 1
            with pytest.raises(ZeroDivisionError):
                async with async_atomic(ALIAS):
                    await run("CREATE TABLE made (number int)")
                    raise ZeroDivisionError
            assert await one("SELECT count(*) FROM pg_class WHERE relname = 'made'") == 0
            assert await pid() == first
            assert managed.load().used == 1
        assert is_free(managed)
        with pytest.raises(ProgrammingError):
            await one("SELECT nothing")
        assert is_free(managed)
        with pytest.raises(ZeroDivisionError):
            async with async_atomic(ALIAS):
                await run("CREATE TABLE made (number int)")
                raise ZeroDivisionError
        assert is_free(managed)
        assert await one("SELECT count(*) FROM pg_class WHERE relname = 'made'") == 0

    asyncio.run(main())
    assert managed.snapshot().created == 1


def test_stream_that_waits_for_a_model_holds_nothing(declare: Declare) -> None:  # P4
    managed = declare({"pool_mode": "transaction", "max_size": 1, "connection_timeout": 1.0})

    async def answer(together: asyncio.Barrier) -> AsyncIterator[int]:
        yield int(await one("SELECT 0"))
        for number in range(1, 4):
            await together.wait()  # all of them wait at the same moment, on one connection
            yield int(await one("SELECT %s", number))

    async def read(together: asyncio.Barrier) -> list[int]:
        return [each async for each in answer(together)]

    async def main() -> None:
        together = asyncio.Barrier(5)
        answers = await asyncio.gather(*(async_new_connection(read(together)) for _ in range(5)))
        assert answers == [[0, 1, 2, 3]] * 5

    asyncio.run(main())
    assert managed.snapshot().created == 1


def test_statement_mode_refuses_transactions_as_it_does_threads(declare: Declare) -> None:
    managed = declare({"pool_mode": "statement"})
    with pytest.raises(ModeError) as refused, atomic(ALIAS):
        pass

    async def main() -> None:
        assert await one("SELECT 1") == 1
        assert is_free(managed)
        with pytest.raises(ModeError) as here:
            async with async_atomic(ALIAS):
                pass
        assert str(here.value) == str(refused.value)
        assert is_free(managed)
        with pytest.raises(ModeError, match="a statement that begins a transaction is refused on database 'tasks'"):
            await one("BEGIN")
        assert is_free(managed)
        assert await one("SELECT 1") == 1

    asyncio.run(main())
    assert managed.snapshot().refused == 3


def test_server_side_cursor_keeps_the_connection_while_it_is_open(declare: Declare) -> None:  # P2
    managed = declare({"pool_mode": "transaction"})

    async def main() -> None:
        cursor = await async_connections[ALIAS].chunked_cursor()
        await cursor.execute("SELECT generate_series(1, 5)")
        assert await cursor.fetchmany(2) == [(1,), (2,)]
        first = await pid()
        assert managed.load().used == 1
        assert await cursor.fetchmany(2) == [(3,), (4,)]
        await cursor.close()
        assert is_free(managed)
        assert await pid() == first
        assert await one("SELECT count(*) FROM pg_cursors") == 0
        async with async_atomic(ALIAS):
            within = await async_connections[ALIAS].chunked_cursor()
            await within.execute("SELECT 1")
        assert managed.load().used == 1
        async with async_atomic(ALIAS):  # it ended with its transaction: to close it fails nobody
            await within.close()
            await pid()
        assert is_free(managed)

    asyncio.run(main())
    assert managed.snapshot().cleaned == 0


def test_cursor_that_was_forgotten_keeps_nothing(declare: Declare) -> None:  # P4
    managed = declare({"pool_mode": "transaction", "max_size": 1})

    async def main() -> None:
        for make in (async_connections[ALIAS].cursor, async_connections[ALIAS].chunked_cursor):
            cursor = await make()
            await cursor.execute("SELECT generate_series(1, 500)")
            await cursor.fetchone()
            assert managed.load().used == 1
            del cursor
            await when(lambda: is_free(managed))
        assert await one("SELECT count(*) FROM pg_cursors") == 0

    asyncio.run(main())
    assert managed.snapshot().reclaimed == 0


def test_cursor_that_outlives_its_checkout_reaches_nobody_s_connection(declare: Declare) -> None:  # P3
    managed = declare({"max_size": 1})

    async def main() -> None:
        conn = async_connections[ALIAS]
        cursor, named = await conn.cursor(), await conn.chunked_cursor()
        await named.execute("SELECT 1")
        await conn.close()
        async with async_new_connection():
            assert await one("SELECT 1") == 1
            for use in (cursor.execute("SELECT 2"), named.fetchone()):
                with pytest.raises(psycopg.Error):
                    try:
                        await use
                    except Exception as ex:
                        raise (ex.__cause__ or ex) from None
            await named.close()
            await cursor.close()
            assert await one("SELECT 3") == 3
            assert managed.load().used == 1

    asyncio.run(main())
    assert is_free(managed)


def test_session_state_keeps_the_connection_and_ends_with_the_borrower(declare: Declare) -> None:  # P2
    managed = declare({"pool_mode": "transaction", "max_size": 1})

    async def main() -> None:
        await one("SELECT set_config('work_mem', '1234kB', false)")
        assert managed.snapshot().holders[0].pinned == "SET"
        assert await one("SHOW work_mem") == "1234kB"
        await async_connections[ALIAS].close()
        assert await one("SHOW work_mem") != "1234kB"

    asyncio.run(main())
    assert managed.snapshot().cleaned == 1


def test_connection_closed_inside_a_transaction_is_over_for_all_of_it(declare: Declare) -> None:  # P2
    managed = declare({"pool_mode": "transaction", "max_size": 1})

    async def main() -> None:
        async with async_atomic(ALIAS):
            await run("CREATE TABLE made (number int)")
            await async_connections[ALIAS].close()
            with pytest.raises((ProgrammingError, TransactionManagementError)):
                await pid()
        assert await one("SELECT count(*) FROM pg_class WHERE relname = 'made'") == 0

    asyncio.run(main())
    assert is_free(managed)


def test_without_autocommit_a_transaction_keeps_it_until_it_is_closed(declare: Declare) -> None:  # P2
    managed = declare({"pool_mode": "transaction", "max_size": 1}, AUTOCOMMIT=False)

    async def main() -> None:
        conn = async_connections[ALIAS]
        assert not await conn.get_autocommit()
        await run("CREATE TABLE made (number int)")
        assert managed.load().used == 1
        await conn.close()
        assert await one("SELECT count(*) FROM pg_class WHERE relname = 'made'") == 0
        await run("CREATE TABLE made (number int)")
        await conn.commit()
        await conn.close()

    asyncio.run(main())
    assert one_by_thread("SELECT count(*) FROM pg_class WHERE relname = 'made'") == 1
    connections[ALIAS].close()
    assert is_free(managed)


def test_hooks_of_a_commit_run_without_the_connection(declare: Declare) -> None:
    managed = declare({"pool_mode": "transaction", "max_size": 1})
    seen: list[Any] = []

    async def hook() -> None:
        seen.append(managed.load().used)
        seen.append(await one("SELECT 7"))

    async def main() -> None:
        conn = async_connections[ALIAS]
        async with async_atomic(ALIAS):
            await pid()
            await conn.on_commit(hook)
        await conn.on_commit(hook)  # at once, and nothing is taken only to ask
        assert is_free(managed)

    asyncio.run(main())
    assert seen == [0, 7, 0, 7]


def test_mode_that_is_edited_counts_from_the_next_connection_on(declare: Declare) -> None:  # P5
    managed = declare({"pool_mode": "session"})

    async def main() -> None:
        await pid()
        managed.apply(Desired(make_spec({**managed.spec.to_dict(), "pool_mode": "transaction"}), "profile 1", 1))
        await pid()
        assert managed.load().used == 1
        await async_connections[ALIAS].close()
        await pid()
        assert is_free(managed)

    asyncio.run(main())


# -- with whom ----------------------------------------------------------------------------------------------------------


def test_threads_and_tasks_share_the_connections_and_their_number(declare: Declare) -> None:  # P3 P6
    managed = declare({"max_size": 1, "connection_timeout": 0.2})

    async def main() -> None:
        first = await pid()
        with pytest.raises(PoolExhausted, match=r"held longest by .*main"):
            await asyncio.to_thread(one_by_thread, "SELECT 1")
        await async_connections[ALIAS].close()

        def by_thread() -> int:
            try:
                return int(one_by_thread("SELECT pg_backend_pid()"))
            finally:
                connections[ALIAS].close()

        assert await asyncio.to_thread(by_thread) == first
        taken, done = threading.Event(), threading.Event()

        def hold() -> None:
            one_by_thread("SELECT 1")
            taken.set()
            done.wait(10)
            connections[ALIAS].close()

        holding = threading.Thread(target=hold)
        holding.start()
        await asyncio.to_thread(taken.wait, 10)
        with pytest.raises(PoolExhausted):
            await pid()
        done.set()
        await asyncio.to_thread(holding.join)
        assert await pid() == first
        await async_connections[ALIAS].close()

    asyncio.run(main())
    asyncio.run(main())  # another loop, the first being closed
    assert managed.snapshot().created == 1


def test_tasks_each_with_a_connection_of_their_own_wait_for_each_other(declare: Declare) -> None:  # P2 P3 P6
    managed = declare({"pool_mode": "transaction", "max_size": 2})

    async def work(number: int) -> int:
        async with async_atomic(ALIAS):
            await one("SELECT set_config('application_name', %s, true)", str(number))
            return int(await one("SELECT current_setting('application_name')"))

    async def main() -> None:
        assert await asyncio.gather(*(async_new_connection(work(number)) for number in range(20))) == [*range(20)]

    def loop() -> None:
        asyncio.run(main())

    assert at_once(loop, loop, loop) == [None] * 3
    assert is_free(managed)
    assert managed.snapshot().created <= 2


def test_task_that_may_not_use_another_s_connection_takes_none(declare: Declare) -> None:  # P4
    managed = declare({"pool_mode": "session"})

    async def main() -> None:
        await pid()
        await async_connections[ALIAS].close()
        with pytest.raises(RuntimeError, match="only be used by the task"):
            await asyncio.create_task(pid())
        assert is_free(managed)

    asyncio.run(main())


def test_checkout_that_fails_says_why_as_for_threads(declare: Declare) -> None:  # P9
    managed = declare({"max_size": 1, "connection_timeout": 0.1})

    async def main() -> None:
        managed.pause()
        with pytest.raises(PoolPaused, match=r"'tasks' .* the pool is paused"):
            await pid()
        managed.resume()
        with managed.connection(), pytest.raises(PoolExhausted):
            async with async_atomic(ALIAS):
                pass
        await pid()
        assert async_connections[ALIAS].errors_occurred is False
        await async_connections[ALIAS].close()

    asyncio.run(main())
    assert managed.snapshot().timeouts == 2


def test_errors_of_the_server_are_django_s(declare: Declare) -> None:  # P1
    managed = declare({"pool_mode": "transaction"})

    async def main() -> None:
        await run("CREATE TABLE made (number int UNIQUE)")
        await run("INSERT INTO made VALUES (1)")
        with pytest.raises(IntegrityError) as wrapped:
            await run("INSERT INTO made VALUES (1)")
        assert isinstance(wrapped.value.__cause__, psycopg.errors.UniqueViolation)

    asyncio.run(main())
    assert is_free(managed)


def test_child_forgets_the_connection_of_its_parent(declare: Declare) -> None:  # P3
    managed = declare({"max_size": 1})

    async def main() -> None:
        first = await pid()
        conn = async_connections[ALIAS]

        def child() -> list[bool]:
            # What the child uses first may be either half.
            other = one_by_thread("SELECT pg_backend_pid()")
            return [conn.connection is None, other != first]

        assert in_child(child) == [True, True]
        assert await pid() == first
        await async_connections[ALIAS].close()

    asyncio.run(main())
    assert is_free(managed)


# -- as Django wants it -------------------------------------------------------------------------------------------------


@pytest.fixture
def hears() -> Iterator[list[Any]]:
    """Who was told of new connections, by a receiver that asks them as threads do."""
    heard: list[Any] = []

    def receive(connection: Any, **kwargs: Any) -> None:
        if connection.alias == ALIAS:
            with connection.cursor() as cursor:
                cursor.execute("SET work_mem = '4321kB'")
            heard.append(type(connection).__name__)

    connection_created.connect(receive)
    yield heard
    connection_created.disconnect(receive)


def test_receivers_of_new_connections_hear_of_each_once_and_as_threads_do(  # P1
    declare: Declare, hears: list[Any]
) -> None:
    managed = declare({"pool_mode": "transaction", "max_size": 1})

    async def main() -> None:
        for _ in range(3):
            assert await one("SHOW work_mem") == "4321kB"
        await one("SELECT set_config('work_mem', '1MB', false)")
        await async_connections[ALIAS].close()
        assert await one("SHOW work_mem") == "4321kB"

    asyncio.run(main())
    assert one_by_thread("SHOW work_mem") == "4321kB"
    assert hears == ["DatabaseWrapper"] * 2  # again after a cleaning, which wipes what was set
    assert managed.snapshot().created == 1
    connections[ALIAS].close()


def test_receiver_that_fails_fails_the_task_and_loses_no_connection(declare: Declare) -> None:  # P4
    managed = declare({"pool_mode": "transaction", "max_size": 1})

    def receive(connection: Any, **kwargs: Any) -> None:
        raise ZeroDivisionError

    async def main() -> None:
        connection_created.connect(receive)
        try:
            with pytest.raises(ZeroDivisionError):
                await pid()
        finally:
            connection_created.disconnect(receive)
        assert is_free(managed)
        await pid()

    asyncio.run(main())
    assert managed.load().held == 1


@contextmanager
def role(name: str) -> Iterator[None]:
    with psycopg.connect(**_superuser(), autocommit=True) as superuser:
        superuser.execute(f"CREATE ROLE {name}; GRANT {name} TO CURRENT_USER")
        superuser.execute(f"GRANT {name} TO {connections['default'].settings_dict['USER']}")
        try:
            yield
        finally:
            superuser.execute(f"DROP OWNED BY {name}; DROP ROLE {name}")


def _superuser() -> dict[str, Any]:
    from tests.servers import servers

    return dict(psycopg.conninfo.conninfo_to_dict(servers().postgres.superuser_url()))


@pytest.mark.parametrize("first", ["task", "thread"])
@pytest.mark.parametrize("server_side_binding", [False, True])
def test_connection_is_set_up_as_django_does_it(declare: Declare, first: str, server_side_binding: bool) -> None:  # P1
    options = {
        "isolation_level": psycopg.IsolationLevel.REPEATABLE_READ,
        "assume_role": "assumed",
        "server_side_binding": server_side_binding,
    }
    managed = declare({"pool_mode": "transaction", "max_size": 1}, TIME_ZONE="Europe/Prague", OPTIONS=options)

    async def main() -> None:
        conn = async_connections[ALIAS]
        assert await one("SHOW timezone") == "Europe/Prague"
        assert await one("SELECT current_user") == "assumed"
        async with async_atomic(ALIAS):
            assert await one("SHOW transaction_isolation") == "repeatable read"
        assert conn.isolation_level == psycopg.IsolationLevel.REPEATABLE_READ
        noon = datetime(2026, 7, 1, 12, tzinfo=UTC)
        got = await one("SELECT %s::timestamptz", noon)
        assert (got, got.tzinfo) == (noon, ZoneInfo("Europe/Prague"))
        assert await one("SELECT '{\"a\": 1}'::jsonb") == '{"a": 1}'  # which Django's field reads
        assert await one("SELECT '10.0.0.1'::inet") == "10.0.0.1"
        assert await one("SELECT %s::int4range", Range(1, 5)) == Range(1, 5)
        assert [each.tzinfo for each in await one("SELECT ARRAY[now()]")] == [ZoneInfo("Europe/Prague")]
        async with await conn.cursor() as cursor:
            assert isinstance(cursor.cursor, psycopg.AsyncClientCursor) is not server_side_binding
        named = await conn.chunked_cursor()
        await named.execute("SELECT %s::timestamptz", [noon])
        assert (await named.fetchone())[0].tzinfo == ZoneInfo("Europe/Prague")
        await named.close()

    with role("assumed"):
        if first == "thread":
            one_by_thread("SELECT 1")
            connections[ALIAS].close()
        asyncio.run(main())
        managed.close()
    assert managed.snapshot().created == 1


def test_cursor_factory_is_for_whom_it_was_made(declare: Declare) -> None:  # P1
    class ForTasks(psycopg.AsyncRawCursor[Any]):
        pass

    declare(OPTIONS={"cursor_factory": ForTasks})

    async def main() -> None:
        async with await async_connections[ALIAS].cursor() as cursor:
            assert isinstance(cursor.cursor, ForTasks)
        assert await one("SELECT $1::int", 3) == 3
        await async_connections[ALIAS].close()

    asyncio.run(main())
    with connections[ALIAS].cursor() as cursor:
        cursor.execute("SELECT %s", [4])
        assert cursor.fetchone() == (4,)
    connections[ALIAS].close()


def test_models_are_queried_without_a_thread(declare: Declare) -> None:  # P1
    managed = declare({"pool_mode": "transaction", "max_size": 1})
    with connections[ALIAS].cursor() as cursor:
        cursor.execute("CREATE TABLE auth_group (id serial PRIMARY KEY, name varchar(150) UNIQUE)")
        cursor.execute("INSERT INTO auth_group (name) VALUES ('one'), ('two'), ('three')")
    groups = QuerySet(Group).using(ALIAS)

    async def main() -> None:
        async with async_atomic(ALIAS):
            await groups.filter(name="one").aupdate(name="eins")
            locked = await groups.select_for_update().aget(name="eins")
            assert managed.load().used == 1
        async for group in groups.order_by("name"):
            assert is_free(managed)
            assert group.name in {"eins", "two", "three"}
        assert await groups.acount() == 3
        with pytest.raises(Group.DoesNotExist):
            await groups.aget(name="one")
        assert locked.name == "eins"
        assert await groups.filter(name="eins").values_list("pk", "name").afirst() == (locked.pk, "eins")
        assert is_free(managed)

    before = set(threading.enumerate())
    asyncio.run(main())
    assert set(threading.enumerate()) <= before
    until(lambda: managed.snapshot().created == 1)
