"""What is alone of SQLAlchemy's asyncio engines: tasks that are cancelled, loops that end, events, invalidation, dispose()."""

import asyncio
import gc
import os
import re
import sys
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import nullcontext, suppress
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest
import sqlalchemy
from django.core.checks import run_checks
from sqlalchemy import event, text
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.ext.asyncio import create_async_engine as theirs
from sqlalchemy.util import await_only, greenlet_spawn

import poolmgr.aio
from poolmgr import exceptions
from poolmgr.control.reporting.probe import Probe
from poolmgr.metrics.snapshot import PoolSnapshot
from poolmgr.pools import registry
from poolmgr.pools.desired import Desired
from poolmgr.pools.lane import console_lane
from poolmgr.targets.sqlalchemy import create_async_engine, create_engine, manage
from poolmgr.targets.sqlalchemy.asyncio.pool import AsyncManagedQueuePool
from poolmgr.targets.sqlalchemy.kind import SQLALCHEMY
from tests.agents import without_agent
from tests.disclosure import disclosures
from tests.forking import in_child
from tests.sampling import first_always
from tests.threads import at_once
from tests.waiting import until, when

Make = Callable[..., Any]
Backends = Callable[[], set[int]]
PID = text("SELECT pg_backend_pid()")
PLANTED = "planted-password"


@pytest.fixture(params=["asyncpg", "psycopg"])
def url(request: pytest.FixtureRequest, postgres: Any) -> str:
    return str(postgres.create_database("kinds")).replace("postgresql://", f"postgresql+{request.param}://")


@pytest.fixture
def backends(url: str) -> Iterator[Backends]:
    """backends(): the server processes of the engine's sessions. It looks through one session, which is none of them."""
    with psycopg.connect(sqlalchemy.engine.make_url(url).set(drivername="postgresql").render_as_string(False)) as look:
        look.autocommit = True
        query = (
            "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND backend_type = 'client backend'"
            " AND pid <> pg_backend_pid()"
        )
        yield lambda: {pid for (pid,) in look.execute(query)}


@pytest.fixture
def make(url: str, backends: Backends) -> Iterator[Make]:
    """make(**settings): an engine without a target on the server; each loop's pool goes with its loop."""

    def one(**settings: Any) -> Any:
        return create_async_engine("", url, pool=settings)

    yield one
    until(lambda: not backends(), "the connections of loops that ended to go")


async def _pid(engine: Any) -> int:
    async with engine.connect() as conn:
        return int(await conn.scalar(PID))


def test_rollback_undoes_and_commit_keeps(make: Make) -> None:  # P2
    async def main() -> None:
        engine = make(max_size=1)
        async with engine.begin() as conn:
            await conn.execute(text("DROP TABLE IF EXISTS kept_by_tasks"))
            await conn.execute(text("CREATE TABLE kept_by_tasks (name text)"))
        async with engine.connect() as conn:
            await conn.execute(text("INSERT INTO kept_by_tasks VALUES ('committed')"))
            await conn.commit()
            await conn.execute(text("INSERT INTO kept_by_tasks VALUES ('rolled back')"))
            await conn.rollback()
            await conn.execute(text("INSERT INTO kept_by_tasks VALUES ('left open')"))
        async with AsyncSession(engine) as session:
            assert (await session.scalars(text("SELECT name FROM kept_by_tasks"))).all() == ["committed"]
        assert engine.pool.managed.snapshot().created == 1

    asyncio.run(main())


def test_events_come_as_sqlalchemy_documents(make: Make) -> None:
    async def main() -> None:
        engine = make(max_size=1)
        told: list[str] = []
        for name in ("first_connect", "connect", "checkout", "reset", "checkin", "invalidate", "close"):
            event.listen(engine.sync_engine, name, lambda *args, name=name: told.append(name))
        first = await _pid(engine)
        assert await _pid(engine) == first
        assert told == ["first_connect", "connect", *["checkout", "reset", "checkin"] * 2]
        told.clear()
        await asyncio.to_thread(engine.pool.managed.recycle, 10)
        await when(lambda: sorted(told) == ["close", "connect"])
        told.clear()
        async with engine.connect() as conn:
            await conn.invalidate()
        assert told == ["checkout", "invalidate", "close", "checkin"]

    asyncio.run(main())


def test_invalidated_connection_is_replaced_within_its_place(make: Make, backends: Backends) -> None:  # P6
    async def main() -> None:
        engine = make(max_size=1)
        async with engine.connect() as conn:
            first = await conn.scalar(PID)
            await conn.invalidate()
            await conn.rollback()
            second = await conn.scalar(PID)
            assert second != first
            assert backends() == {second} == set(engine.pool.managed.snapshot().backend_pids)
        await when(lambda: engine.pool.managed.load().held == 1)
        assert await _pid(engine) == second

    asyncio.run(main())


def test_broken_connection_invalidates_those_that_are_as_old(make: Make, backends: Backends) -> None:  # P7
    async def main() -> None:
        engine = make(max_size=3)
        held = [await engine.connect() for _ in range(3)]
        pids = {await conn.scalar(PID) for conn in held}
        for conn in held[1:]:
            await conn.close()
        os.kill(await held[0].scalar(PID), 15)
        with pytest.raises(sqlalchemy.exc.DBAPIError) as caught:
            while True:
                await held[0].scalar(PID)
        assert caught.value.connection_invalidated
        await held[0].close()
        await when(lambda: not pids & backends())
        assert await _pid(engine) not in pids

    asyncio.run(main())


def test_return_of_what_its_borrower_has_ended_frees_the_place(make: Make) -> None:  # P4 P7
    async def main() -> None:
        engine = make(max_size=1)
        conn = await engine.raw_connection()
        driver_s = conn.driver_connection
        driver_s.terminate() if hasattr(driver_s, "terminate") else driver_s.pgconn.finish()
        await greenlet_spawn(conn.close)
        assert engine.pool.managed.snapshot().used == 0
        await _pid(engine)

    asyncio.run(main())


def test_idle_connection_that_the_server_closed_is_never_handed_out(make: Make, backends: Backends) -> None:  # P7
    async def main() -> None:
        engine = make(max_size=2)
        held = [await engine.connect() for _ in range(2)]
        for conn in held:
            await conn.close()
        pids = backends()
        for pid in pids:
            os.kill(pid, 15)
        await when(lambda: not backends())
        assert await _pid(engine) not in pids

    asyncio.run(main())


@pytest.mark.parametrize("again", [False, True], ids=["the first", "one in its place"])
def test_open_transaction_of_the_driver_s_own_is_nobody_else_s(make: Make, again: bool) -> None:  # P2
    async def main() -> None:
        engine = make(max_size=1)
        conn = await engine.connect()
        if again:
            await conn.scalar(PID)
            await conn.invalidate()
            await conn.rollback()
            await conn.scalar(PID)
            await conn.rollback()
        raw = await conn.get_raw_connection()
        await raw.driver_connection.execute("BEGIN")
        await raw.driver_connection.execute("CREATE TABLE left_open (name text)")
        await conn.close()
        async with engine.connect() as conn:
            assert await conn.scalar(text("SELECT to_regclass('left_open')")) is None

    asyncio.run(main())


def test_listener_that_refuses_a_connection_gets_another_in_its_place(make: Make, backends: Backends) -> None:  # P6
    async def main() -> None:
        engine = make(max_size=1)
        first = await _pid(engine)
        refused: list[Any] = []

        @event.listens_for(engine.sync_engine, "checkout")
        def refuse(connection: Any, record: Any, proxy: Any) -> None:
            if not refused:
                refused.append(record)
                raise sqlalchemy.exc.DisconnectionError("not this one")

        async with engine.connect() as conn:
            second = await conn.scalar(PID)
            assert second != first
            assert backends() == {second}
        seen = engine.pool.managed.snapshot()
        assert (seen.created, seen.closed, seen.size) == (2, 1, 1)

    asyncio.run(main())


def test_connect_listener_that_fails_costs_no_place(make: Make, backends: Backends) -> None:  # P4
    async def main() -> None:
        engine = make(max_size=1, connection_timeout=0.5)

        @event.listens_for(engine.sync_engine, "connect")
        def fail(connection: Any, record: Any) -> None:
            raise RuntimeError("the listener's own")

        with pytest.raises(RuntimeError, match="the listener's own"):
            await _pid(engine)
        event.remove(engine.sync_engine, "connect", fail)
        assert {await _pid(engine)} == await when(lambda: len(found := backends()) == 1 and found)

    asyncio.run(main())


@pytest.mark.long
def test_session_commits_in_two_phases(make_postgres: Any) -> None:
    server = make_postgres(max_prepared_transactions=5)
    url = str(server.create_database("twophase")).replace("postgresql://", "postgresql+psycopg://")

    async def main() -> None:
        engine = create_async_engine("", url, pool={"max_size": 1})
        async with engine.begin() as conn:
            await conn.execute(text("CREATE TABLE twice (name text)"))
        async with AsyncSession(engine, twophase=True) as session:
            await session.execute(text("INSERT INTO twice VALUES ('kept')"))
            await session.commit()
            await session.execute(text("INSERT INTO twice VALUES ('undone')"))
            await session.run_sync(lambda each: each.prepare())
            await session.rollback()
            assert (await session.scalars(text("SELECT name FROM twice"))).all() == ["kept"]
            assert await session.scalar(text("SELECT count(*) FROM pg_prepared_xacts")) == 0
        assert engine.pool.managed.snapshot().used == 0

    asyncio.run(main())


# -- cancellation -----------------------------------------------------------------------------------------------------


async def _connect_and_close(engine: Any) -> None:
    async with engine.connect():
        pass


async def _ask(engine: Any) -> None:
    async with engine.begin() as conn:
        await conn.execute(text("SELECT pg_sleep(0.002)"))


async def _break(engine: Any) -> None:
    async with engine.connect() as conn:
        await conn.scalar(PID)
        await conn.invalidate()
        await conn.rollback()
        await conn.scalar(PID)


@pytest.mark.long
@pytest.mark.parametrize("act", [_connect_and_close, _ask, _break])
@pytest.mark.parametrize("validation", first_always("socket", "query"))
def test_cancelled_at_whichever_step_it_loses_no_connection(  # P3 P4 P6
    make: Make, backends: Backends, act: Callable[[Any], Coroutine[Any, Any, None]], validation: str
) -> None:
    async def main() -> None:
        engine = make(max_size=2, validation=validation, connection_timeout=10)
        cancelled = 0
        for steps in range(60):
            tasks = [asyncio.create_task(act(engine)) for _ in range(4)]
            for _ in range(steps):
                await asyncio.sleep(0.0005 if steps > 20 else 0)
            for task in tasks[:3]:
                cancelled += task.cancel()
            ended = await asyncio.gather(*tasks, return_exceptions=True)
            # Who is not cancelled may find that one that is has broken a connection that they share nothing else with.
            assert not isinstance(ended[3], exceptions.CheckoutError)
        assert cancelled > 5
        pool = engine.pool.managed
        await when(lambda: pool.load().used == 0 and not pool.load().pending, "all to come back")
        with suppress(TimeoutError):
            await when(lambda: set(pool.snapshot().backend_pids) == backends(), "the books to be right")
        assert set(pool.snapshot().backend_pids) == backends(), pool.snapshot()
        assert len(backends()) <= 2
        assert sorted(await asyncio.gather(*(_sum(engine, number) for number in range(8)))) == list(range(8))

    asyncio.run(main())


async def _sum(engine: Any, number: int) -> int:
    async with engine.connect() as conn:
        return int(await conn.scalar(text("SELECT CAST(:number AS int)"), {"number": number}))


def test_task_that_is_cancelled_while_it_waits_leaves_the_queue(make: Make) -> None:  # P4 P8
    async def main() -> None:
        engine = make(max_size=1, connection_timeout=20)
        async with engine.connect():
            waiter = asyncio.create_task(_pid(engine))
            await when(lambda: engine.pool.managed.load().pending)
            waiter.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiter
            assert engine.pool.managed.load().pending == 0
        assert engine.pool.managed.load().used == 0

    asyncio.run(main())


def test_sync_code_outside_of_a_greenlet_takes_nothing_along(make: Make) -> None:  # P4
    async def main() -> None:
        engine = make(max_size=1, validation="query")
        first = await _pid(engine)
        with pytest.raises(sqlalchemy.exc.MissingGreenlet):
            engine.sync_engine.connect()
        assert engine.pool.managed.load().used == 0
        assert await _pid(engine) != first

    asyncio.run(main())


# -- loops ------------------------------------------------------------------------------------------------------------


def test_each_loop_has_connections_of_its_own(make: Make, url: str) -> None:  # P3
    engine, met = make(max_size=1), threading.Barrier(2, timeout=20)

    async def main() -> tuple[int, int]:
        async with engine.connect() as conn:
            pid = await conn.scalar(PID)
            await asyncio.to_thread(met.wait)
        return pid, await _pid(engine)

    (one, again), (other, its_again) = at_once(*[lambda: asyncio.run(main())] * 2)
    assert (again, its_again) == (one, other)
    assert one != other


@pytest.mark.parametrize("on_the_lane", [False, True], ids=["by the pool", "on the console lane"])
def test_no_loop_waits_for_ever_for_the_first_connect_of_another(make: Make, on_the_lane: bool) -> None:  # P8 P10
    engine, met = make(max_size=1, connection_timeout=5), threading.Barrier(2, timeout=20)

    @event.listens_for(engine.sync_engine, "connect")
    def take_long(connection: Any, record: Any) -> None:
        await_only(asyncio.sleep(0.3))

    async def main() -> int:
        await asyncio.to_thread(met.wait)
        with console_lane() if on_the_lane else nullcontext():
            async with asyncio.timeout(4):
                return await _pid(engine)

    one, other = at_once(*[lambda: asyncio.run(main())] * 2)
    assert one != other


def test_loop_that_ends_closes_its_connections_and_the_next_begins_anew(make: Make, backends: Backends) -> None:  # P4
    engine = make(max_size=2)
    first = asyncio.run(_pid(engine))
    until(lambda: not backends())
    assert asyncio.run(_pid(engine)) != first


@pytest.mark.parametrize("asks_for_its_end", first_always(False, True), ids=["closed by hand", "run"])
def test_loop_that_ends_while_its_pool_closes_connections_leaves_nothing_behind(
    make: Make, recwarn: pytest.WarningsRecorder, caplog: pytest.LogCaptureFixture, asks_for_its_end: bool
) -> None:  # P4
    async def main() -> None:
        engine, closing = make(max_size=5), asyncio.Event()
        event.listen(engine.sync_engine, "close", lambda *args: closing.set())
        for conn in [await engine.connect() for _ in range(5)]:
            await conn.close()
        engine.pool.managed.drop_idle()
        await closing.wait()

    gc.collect()
    recwarn.clear()  # of what others have dropped
    caplog.clear()
    for _ in range(3):
        if asks_for_its_end:
            asyncio.run(main())
        else:
            loop = asyncio.new_event_loop()
            loop.run_until_complete(main())
            loop.run_until_complete(loop.shutdown_asyncgens())
            loop.close()
    gc.collect()
    assert [str(each.message) for each in recwarn] == []
    assert [each for each in caplog.records if each.levelname != "INFO"] == []


def test_forked_child_has_connections_of_its_own(make: Make) -> None:  # P3
    engine = make(max_size=1)

    async def main() -> None:
        first = await _pid(engine)

        def child() -> int:
            asyncio._set_running_loop(None)
            return asyncio.run(_pid(engine))

        assert in_child(child) != first
        assert await _pid(engine) == first

    asyncio.run(main())


# -- dispose(), manage() ----------------------------------------------------------------------------------------------


def test_dispose_closes_what_is_idle_now_and_what_is_used_as_it_returns(make: Make, backends: Backends) -> None:
    async def main() -> None:
        engine = make(max_size=2)
        async with engine.connect() as conn, engine.connect():
            used = await conn.scalar(PID)
        async with engine.connect() as conn:
            used = await conn.scalar(PID)
            await engine.dispose()
            assert backends() == {used}
            assert await conn.scalar(PID) == used
        await when(lambda: not backends())
        assert await _pid(engine) != used

    asyncio.run(main())


def test_whoever_waits_while_the_engine_is_disposed_of_is_served(make: Make) -> None:
    async def main() -> None:
        engine = make(max_size=1, connection_timeout=20)
        async with engine.connect() as conn:
            first = await conn.scalar(PID)
            waiter = asyncio.create_task(_pid(engine))
            await when(lambda: engine.pool.managed.load().pending)
            await engine.dispose()
        assert await waiter != first

    asyncio.run(main())


def test_manage_swaps_the_pool_of_an_asyncio_engine_in_place(url: str, backends: Backends) -> None:
    async def main() -> None:
        engine = theirs(url, pool_size=2, max_overflow=1, pool_timeout=7, pool_recycle=99)
        told: list[Any] = []
        event.listen(engine.sync_engine, "checkout", lambda *args: told.append(args))
        idle = await _pid(engine)
        async with engine.connect() as conn:
            async with engine.connect():
                pass
            first = await conn.scalar(PID)
            assert manage(engine, target="", pool={"max_lifetime": 50}) is engine
            assert isinstance(engine.pool, AsyncManagedQueuePool)
            second = await _pid(engine)
            assert second not in (first, idle)
            assert await conn.scalar(PID) == first
            spec = engine.pool.managed.spec
            assert (spec.max_size, spec.connection_timeout, spec.max_lifetime) == (3, 7, 50)
            assert len(told) == 4
        await when(lambda: backends() == {second})

    asyncio.run(main())
    until(lambda: not backends())


def test_asyncio_engine_is_managed_where_no_loop_runs(url: str, backends: Backends) -> None:
    engine = theirs(url)
    kept = asyncio.new_event_loop()
    kept.run_until_complete(_pid(engine))
    manage(engine, target="")
    until(lambda: not backends())
    kept.run_until_complete(_pid(engine))
    kept.run_until_complete(kept.shutdown_asyncgens())
    kept.close()
    until(lambda: not backends())


def test_dialect_of_asyncio_s_is_no_sync_engine_s() -> None:
    with pytest.raises(exceptions.ConfigurationError, match=r"is made by create_async_engine\(\)"):
        create_engine("", "postgresql+asyncpg://host/name")


def test_console_lane_never_waits_for_the_pool(make: Make, backends: Backends) -> None:
    async def main() -> None:
        engine = make(max_size=1, connection_timeout=20)
        async with engine.connect() as conn:
            with console_lane():
                assert await _pid(engine) != await conn.scalar(PID)
            await when(lambda: len(backends()) == 1)

    asyncio.run(main())


@pytest.mark.parametrize("by_a_listener", [False, True])
def test_detached_connection_lives_on_and_its_place_is_free(
    make: Make, backends: Backends, by_a_listener: bool
) -> None:  # P4 P6
    async def main() -> None:
        engine = make(max_size=1)
        if by_a_listener:
            await _pid(engine)
            event.listen(engine.sync_engine, "checkout", lambda _, record, stand_in: stand_in.detach(), once=True)
        conn = await engine.raw_connection()
        if not by_a_listener:
            conn.detach()
        lives_on = backends()
        other = await _pid(engine)
        assert lives_on == backends() - {other}
        assert engine.pool.managed.snapshot().left_behind == 0
        await greenlet_spawn(conn.close)
        await when(lambda: backends() == {other})

    asyncio.run(main())


@pytest.mark.long
@pytest.mark.parametrize("again", first_always(True, False), ids=["one in its place", "the first"])
def test_connection_that_was_dropped_keeps_its_place_until_it_is_gone(
    make: Make, backends: Backends, recwarn: Any, again: bool
) -> None:  # P4 P6
    async def main() -> None:
        engine = make(max_size=1)
        for _ in range(20):
            conn = await engine.connect()
            if again:
                await conn.invalidate()
                await conn.rollback()
            first = await conn.scalar(PID)
            del conn
            gc.collect()
            async with engine.connect() as conn:
                second = await conn.scalar(PID)
                assert backends() == {second}
            assert second != first
        assert engine.pool.managed.snapshot().left_behind == 0

    asyncio.run(main())
    assert any(each.category is sqlalchemy.exc.SAWarning for each in recwarn)


# -- targets ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def declared(settings: Any, url: str) -> Iterator[str]:
    without_agent()
    target = {"KIND": "sqlalchemy", "URL": url, "POOL": {"max_size": 3}}
    settings.POOLMGR = {**settings.POOLMGR, "AGENT": False, "TARGETS": {"reports": target}}
    yield "reports"
    registry.close("reports")


def _seen(target: str) -> PoolSnapshot:
    group = registry.get(target)
    assert group is not None
    return group.snapshot()


def test_declared_target_s_asyncio_engine_is_handed_out_and_follows_its_profile(
    declared: str, backends: Backends
) -> None:  # P5
    async def main() -> None:
        engine = poolmgr.aio.pool(declared)
        assert poolmgr.aio.pool(declared) is engine
        async with engine.connect() as conn:
            assert await conn.scalar(PID) in backends()
            seen = _seen(declared)
            assert (seen.target, seen.kind, seen.max_size, seen.used) == (declared, "sqlalchemy", 3, 1)
            registry.set_desired({declared: Desired(SQLALCHEMY.make_spec({"max_size": 7}), "profile 1", 1)})
            assert engine.pool.size() == 7

    asyncio.run(main())
    registry.set_desired({})
    until(lambda: not backends())


@pytest.mark.parametrize("url", ["psycopg"], indirect=True)
def test_loops_and_threads_of_one_target_are_one_pool_to_the_registry(
    settings: Any, url: str, backends: Backends
) -> None:  # P6
    without_agent()
    target = {"KIND": "sqlalchemy", "URL": url, "POOL": {"max_size": 2, "connection_timeout": 0.5}}
    settings.POOLMGR = {**settings.POOLMGR, "AGENT": False, "TARGETS": {"reports": target}}

    async def main() -> None:
        engine = poolmgr.aio.pool("reports")
        with poolmgr.pool("reports").connect() as conn:
            async with engine.connect() as other:
                assert conn.scalar(PID) != await other.scalar(PID)
                assert _seen("reports").used == 2
                with pytest.raises(exceptions.PoolExhausted):
                    await _pid(engine)

    try:
        asyncio.run(main())
    finally:
        registry.close("reports")
    until(lambda: not backends())


def test_health_check_asks_in_a_loop_of_its_own(declared: str, backends: Backends) -> None:
    seen = Probe(declared, 5.0, lambda: "SELECT 1").result(())
    assert seen.state == "ok"
    assert seen.connect_time
    assert seen.query_time
    assert seen.server_version.startswith("PostgreSQL ")
    until(lambda: not backends())


def test_declaration_that_is_only_asyncio_s_is_no_error(declared: str) -> None:
    assert [each for each in run_checks() if each.id == "poolmgr.E008"] == []


@pytest.mark.parametrize("url", ["asyncpg"], indirect=True)
def test_without_its_driver_an_engine_says_what_to_install(
    declared: str, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:  # P11
    monkeypatch.setitem(sys.modules, "asyncpg", None)
    sentence = "needs asyncpg, which is not installed: pip install 'poolmgr[asyncpg]'"
    for use in (lambda: poolmgr.aio.pool(declared), lambda: create_async_engine("own", url)):
        with pytest.raises(exceptions.ConfigurationError, match=re.escape(sentence)) as caught:
            use()
        assert urlsplit(url).password not in str(caught.value)
    assert sentence in " ".join(each.msg for each in run_checks() if each.id == "poolmgr.E006")
    check = Probe(declared, 5.0, lambda: "SELECT 1").result(())
    assert (check.state, sentence in check.message) == ("critical", True), check.message


def test_password_is_in_no_error_of_an_asyncio_engine(postgres: Any) -> None:  # P13
    url = str(postgres.create_database("kinds"))
    for driver in ("asyncpg", "psycopg"):
        made = sqlalchemy.engine.make_url(url.replace("postgresql://", f"postgresql+{driver}://"))
        engine = create_async_engine("", made.set(password=PLANTED), pool={"connection_timeout": 2})
        with pytest.raises(exceptions.AuthenticationFailed) as caught:
            asyncio.run(_pid(engine))
        assert not disclosures(caught.value, PLANTED)
