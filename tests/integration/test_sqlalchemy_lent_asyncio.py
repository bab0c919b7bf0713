"""SQLAlchemy's asyncio engine on the connections that Django has already."""

import asyncio
import gc
import os
from collections.abc import Callable
from typing import Any
from weakref import ref

import pytest
import sqlalchemy
from django.contrib.auth.models import Group
from django.db import connection
from psycopg import IsolationLevel
from psycopg.adapt import Loader
from sqlalchemy import event, text
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession
from sqlalchemy.util import greenlet_spawn

from poolmgr import exceptions
from poolmgr.pools import registry
from poolmgr.pools.aio.forgotten import SILENT
from poolmgr.targets.sqlalchemy import async_engine
from tests.forking import in_child
from tests.integration.backend import query
from tests.integration.lent import Base, Thing, insertion, names
from tests.waiting import until, when

Small = Callable[..., Any]


@pytest.fixture
def engine() -> Any:
    """An engine of the test's own, so that no other test's listeners are on it."""
    return async_engine("default", echo=False)


def test_rollback_undoes_and_commit_keeps(lent_pool: Small, engine: Any) -> None:  # P3
    pool = lent_pool("transaction")

    async def main() -> None:
        async with engine.connect() as conn:
            await conn.execute(*insertion("rolled back"))
            await conn.rollback()
            await conn.execute(*insertion("kept"))
            await conn.commit()
            await conn.execute(*insertion("forgotten"))
        async with engine.begin() as conn:
            await conn.execute(*insertion("begun"))
            async with conn.begin_nested() as nested:
                await conn.execute(*insertion("inner"))
                await nested.rollback()
        with pytest.raises(ZeroDivisionError):
            async with engine.begin() as conn:
                await conn.execute(*insertion("failed"))
                raise ZeroDivisionError

    asyncio.run(main())
    assert names() == {"kept", "begun"}
    seen = pool.snapshot()
    assert (seen.created, seen.cleaned, seen.pins) == (1, 0, {})


def test_django_finds_its_connection_in_autocommit_again(lent_pool: Small, engine: Any) -> None:  # P3
    lent_pool("transaction")

    async def main() -> int:
        async with engine.connect() as conn:
            return int(await conn.scalar(text("SELECT pg_backend_pid()")))

    pid = asyncio.run(main())
    Group.objects.create(name="django's")
    assert query("SELECT pg_backend_pid()")[0][0] == pid
    connection.close()
    assert asyncio.run(main()) == pid  # in another loop
    assert names() == {"django's"}


def test_orm_s_session_reads_json_as_sqlalchemy_has_it(lent_pool: Small, engine: AsyncEngine) -> None:
    lent_pool("transaction", max_size=2)

    async def main() -> None:
        async with engine.begin() as conn:
            await conn.run_sync(Base.metadata.create_all)
        async with AsyncSession(engine) as session, session.begin():
            session.add(Thing(id=1, kept={"a": [1]}))
        async with AsyncSession(engine) as session:
            assert (await session.get_one(Thing, 1)).kept == {"a": [1]}

    asyncio.run(main())
    # Django's own fields expect text.
    assert query("SELECT kept FROM sqlalchemy_things") == [('{"a": [1]}',)]
    with connection.cursor() as cursor:
        cursor.execute("DROP TABLE sqlalchemy_things")


def test_isolation_level_of_one_borrower_is_not_the_next_one_s(lent_pool: Small, engine: Any) -> None:  # P3
    lent_pool("transaction")

    async def main() -> None:
        async with engine.connect() as conn:
            await conn.execution_options(isolation_level="SERIALIZABLE")
            assert await conn.scalar(text("SHOW transaction_isolation")) == "serializable"
        async with engine.connect() as conn:
            await conn.execution_options(isolation_level="AUTOCOMMIT")
            await conn.execute(*insertion("at once"))
        async with engine.connect() as conn:
            assert await conn.scalar(text("SHOW transaction_isolation")) == "read committed"
            await conn.execute(*insertion("undone"))

    asyncio.run(main())
    assert names() == {"at once"}


def test_session_state_of_a_borrower_is_cleaned(lent_pool: Small, engine: Any) -> None:  # P2
    pool = lent_pool("transaction")

    async def main() -> None:
        async with engine.begin() as conn:
            await conn.execute(text("SET application_name = 'somebody'"))

    asyncio.run(main())
    until(lambda: pool.snapshot().cleaned == 1)
    assert query("SHOW application_name") != [("somebody",)]


def test_what_a_connect_listener_sets_is_there_for_each_borrower_and_not_for_django(  # P2
    lent_pool: Small, engine: Any
) -> None:
    lent_pool("transaction")

    @event.listens_for(engine.sync_engine, "connect")
    def set_name(connection: Any, record: Any) -> None:
        connection.cursor().execute("SET application_name = 'listener'")
        connection.commit()

    async def main() -> None:
        async with engine.connect() as conn:
            assert await conn.scalar(text("SHOW application_name")) == "listener"

    for _ in range(2):
        asyncio.run(main())
        assert query("SHOW application_name") != [("listener",)]
        connection.close()


def test_connect_is_told_once_for_each_physical_connection(lent_pool: Small, engine: Any) -> None:
    pool, told = lent_pool("transaction"), list[Any]()
    event.listen(engine.sync_engine, "connect", lambda connection, record: told.append(record))

    async def twice() -> None:
        for _ in range(2):
            async with engine.connect() as conn:
                await conn.execute(text("SELECT 1"))

    asyncio.run(twice())
    asyncio.run(twice())
    assert len(told) == 1
    pool.recycle()
    asyncio.run(twice())
    assert len(told) == 2


class Shouting(Loader):
    """Reads what it is given in capitals, to be told from what psycopg reads."""

    def load(self, data: Any) -> str:
        return bytes(data).decode().upper()


def test_what_a_listener_registers_is_there_at_each_loan_and_what_a_borrower_does_at_no_other(
    lent_pool: Small, engine: Any
) -> None:  # P2
    lent_pool("transaction")
    heard: list[Any] = []

    @event.listens_for(engine.sync_engine, "connect")
    def register(connection: Any, record: Any) -> None:
        record.driver_connection.adapters.register_loader("text", Shouting)
        record.driver_connection.add_notice_handler(lambda notice: heard.append(notice.message_primary))

    async def main(register_more: bool) -> tuple[Any, ...]:
        async with engine.connect() as conn:
            if register_more:
                driver_s = (await conn.get_raw_connection()).driver_connection
                driver_s.adapters.register_loader("name", Shouting)
                driver_s.add_notice_handler(lambda notice: heard.append("a borrower's"))
            await conn.execute(text("DO $$BEGIN RAISE NOTICE 'heard'; END$$"))
            return tuple((await conn.execute(text("SELECT 'said'::text, 'named'::name"))).one())

    assert asyncio.run(main(True)) == ("SAID", "NAMED")
    assert asyncio.run(main(False)) == ("SAID", "named")
    assert asyncio.run(main(False)) == ("SAID", "named")
    assert heard == ["heard", "a borrower's", "heard", "heard"]


def test_what_a_listener_sets_in_python_alone_is_there_at_each_loan(lent_pool: Small, engine: Any) -> None:  # P2
    pool = lent_pool("transaction")

    @event.listens_for(engine.sync_engine, "connect")
    def set_level(connection: Any, record: Any) -> None:
        connection.set_isolation_level(IsolationLevel.SERIALIZABLE)

    async def level(of: Any) -> Any:
        async with of.connect() as conn:
            return await conn.scalar(text("SHOW transaction_isolation"))

    other = async_engine("default", echo=False)
    for _ in range(2):
        assert asyncio.run(level(engine)) == "serializable"
        assert asyncio.run(level(other)) == "read committed"
    assert pool.snapshot().created == 1


def test_pool_objects_that_were_disposed_of_are_not_kept_by_the_connections(lent_pool: Small, engine: Any) -> None:
    lent_pool("transaction")

    async def main() -> Any:
        async with engine.connect():
            pass
        old = ref(engine.pool)
        await engine.dispose()
        async with engine.connect():
            pass
        return old

    old = asyncio.run(main())
    until(lambda: gc.collect() is not None and old() is None, "the old pool object to be collected")


def test_all_share_max_size_and_holders(lent_pool: Small, engine: Any) -> None:  # P6 P9
    pool = lent_pool("transaction", connection_timeout=0.2)

    async def main() -> None:
        async with engine.connect() as conn:
            pid = await conn.scalar(text("SELECT pg_backend_pid()"))
            assert [each.backend_pid for each in pool.snapshot().holders] == [pid]
            with pytest.raises(sqlalchemy.exc.TimeoutError, match=r"held longest by .*main") as caught:
                async with engine.connect():
                    pass
            assert isinstance(caught.value, exceptions.PoolExhausted)
        with pytest.raises(exceptions.PoolExhausted):
            async with engine.connect():
                await asyncio.to_thread(query)

    asyncio.run(main())


def test_statement_mode_refuses_the_transactions_of_sqlalchemy(lent_pool: Small, engine: Any) -> None:
    lent_pool("statement")

    async def main() -> None:
        with pytest.raises(exceptions.ModeError, match="statement mode"):
            await engine.connect()

    asyncio.run(main())


def test_invalidated_connection_is_closed_and_its_place_free(lent_pool: Small, engine: Any) -> None:  # P4
    pool = lent_pool("transaction")

    async def main() -> None:
        async with engine.connect() as conn:
            first = await conn.scalar(text("SELECT pg_backend_pid()"))
            await conn.invalidate()
            await conn.rollback()
            assert await conn.scalar(text("SELECT pg_backend_pid()")) != first

    asyncio.run(main())
    until(lambda: pool.snapshot().size == 1 and pool.load().used == 0)


def test_connection_that_broke_in_use_is_replaced(lent_pool: Small, engine: Any) -> None:  # P4 P7
    pool = lent_pool("transaction")

    async def main() -> None:
        async with engine.connect() as conn:
            pid = await conn.scalar(text("SELECT pg_backend_pid()"))
            os.kill(pid, 15)
            with pytest.raises(sqlalchemy.exc.DBAPIError) as caught:
                while True:
                    await conn.scalar(text("SELECT 1"))
            assert caught.value.connection_invalidated
        async with engine.connect() as conn:
            assert await conn.scalar(text("SELECT pg_backend_pid()")) != pid

    asyncio.run(main())
    until(lambda: pool.snapshot().size == 1 and pool.load().used == 0)


@pytest.mark.long
@pytest.mark.filterwarnings("ignore:The garbage collector is trying")
def test_what_another_task_goes_on_with_stays_with_it(lent_pool: Small, engine: Any) -> None:  # P3 P4
    pool = lent_pool("transaction", max_size=3)

    async def ask(conn: Any) -> Any:
        return await conn.scalar(text("SELECT pg_backend_pid()"))

    async def main() -> None:
        conn = await asyncio.create_task(_begun(engine))
        session = AsyncSession(engine)
        pids = [await asyncio.create_task(ask(each)) for each in (conn, session)]
        raw = await asyncio.create_task(engine.raw_connection())
        # Until somebody has looked who uses each.
        while sum(noted.patience > SILENT for noted in pool.silence._noted.values()) < 3:
            await asyncio.sleep(0.05)
        assert [await ask(each) for each in (conn, session)] == pids
        await greenlet_spawn(raw.close)
        await session.close()
        await conn.close()

    asyncio.run(main())
    assert pool.snapshot().reclaimed == 0


async def _begun(engine: Any) -> Any:
    return await engine.connect()


def test_connection_that_nobody_closed_comes_back(lent_pool: Small, engine: Any) -> None:  # P4
    pool = lent_pool("transaction")

    async def main() -> None:
        conn = await engine.connect()
        await conn.scalar(text("SELECT 1"))
        del conn
        gc.collect()
        async with engine.connect() as conn:
            await conn.scalar(text("SELECT 1"))

    asyncio.run(main())
    assert pool.load().used == 0


def test_tasks_of_two_loops_that_begin_at_once_meet_at_the_first_connect(lent_pool: Small, engine: Any) -> None:
    pool = lent_pool("transaction", max_size=4)

    async def use() -> None:
        for _ in range(10):
            async with engine.connect() as conn:
                assert await conn.scalar(text("SELECT 1")) == 1

    async def main() -> None:
        async def crowd() -> None:
            await asyncio.gather(*(use() for _ in range(5)))

        await asyncio.gather(asyncio.to_thread(lambda: asyncio.run(crowd())), crowd())

    asyncio.run(main())
    assert pool.load().used == 0


def test_tasks_that_are_cancelled_at_random_lose_nothing(lent_pool: Small, engine: Any) -> None:  # P3 P4
    pool = lent_pool("transaction", max_size=2)

    async def use() -> None:
        async with engine.begin() as conn:
            await conn.execute(text("INSERT INTO auth_group (name) VALUES (md5(random()::text))"))
            await conn.execute(text("SELECT pg_sleep(0.001)"))

    async def main() -> None:
        for turn in range(200):
            task = asyncio.create_task(use())
            for _ in range(turn % 23):
                await asyncio.sleep(0)
            if turn % 3 == 0:
                await asyncio.sleep(0.002 * (turn % 5))
            task.cancel()
            await asyncio.wait([task])
        await when(lambda: not pool.load().used, "all to come back")

    asyncio.run(main())
    until(lambda: len(pool.pool._pool) == pool.load().held)
    assert pool.snapshot().left_behind == 0


def test_one_engine_for_each_alias() -> None:
    assert async_engine("default") is async_engine("default")


def test_loan_whose_listener_fails_or_is_cancelled_ends(lent_pool: Small, engine: Any) -> None:  # P4
    pool = lent_pool("transaction")
    fails = True

    @event.listens_for(engine.sync_engine, "connect")
    def fail(connection: Any, record: Any) -> None:
        if fails:
            cursor = connection.cursor()
            cursor.execute("SELECT pg_sleep(0.05)")
            raise ZeroDivisionError

    async def main() -> None:
        nonlocal fails
        with pytest.raises(ZeroDivisionError):
            await engine.connect()
        assert pool.load().used == 0
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.02):
                await engine.connect()
        fails = False
        async with engine.connect() as conn:
            assert await conn.scalar(text("SELECT 1")) == 1

    asyncio.run(main())
    assert (pool.load().used, pool.snapshot().reclaimed) == (0, 0)


def test_forked_child_borrows_connections_of_its_own(lent_pool: Small, engine: Any) -> None:  # P3
    lent_pool("transaction")

    async def main() -> int:
        async with engine.connect() as conn:
            return int(await conn.scalar(text("SELECT pg_backend_pid()")))

    pid = asyncio.run(main())
    assert in_child(lambda: asyncio.run(main())) != pid
    assert asyncio.run(main()) == pid


def test_what_waits_while_the_pool_is_closed_is_told(lent_pool: Small, engine: Any) -> None:  # P9
    pool = lent_pool("transaction")

    async def main() -> None:
        async with engine.connect() as conn:
            await conn.scalar(text("SELECT 1"))
            waiting = asyncio.create_task(engine.connect().start())
            while not pool.load().pending:
                await asyncio.sleep(0)
            await asyncio.to_thread(registry.close, "default")
            with pytest.raises(exceptions.PoolClosed):
                await waiting
        async with engine.connect() as conn:
            assert await conn.scalar(text("SELECT 1")) == 1

    asyncio.run(main())
