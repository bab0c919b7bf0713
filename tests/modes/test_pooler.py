"""A pool behind a PgBouncer knows it, for certain and at no cost to a checkout, and promises nothing that it can't keep."""

import asyncio
import logging
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from threading import Thread
from time import monotonic
from typing import Any

import psycopg
import pytest
from django.db import connections, transaction
from sqlalchemy.exc import ProgrammingError

import poolmgr
from poolmgr.checks import check_databases
from poolmgr.conf import Declared
from poolmgr.control import agent
from poolmgr.control.editing.weighing import foresee_save
from poolmgr.control.reporting.health import check_target, pooler_pids
from poolmgr.control.reporting.probe import Probe
from poolmgr.exceptions import ModeError
from poolmgr.metrics.snapshot import ProcessBeat
from poolmgr.models import PoolProfile
from poolmgr.pools import registry
from poolmgr.targets.asyncpg.arguments import of_url
from poolmgr.targets.asyncpg.making import Maker
from poolmgr.targets.asyncpg.pool import AsyncpgPool
from poolmgr.targets.pgbouncer.pool import BouncerPool
from poolmgr.targets.sqlalchemy import create_async_engine, create_engine
from tests.agents import command
from tests.bouncer import Bouncer
from tests.modes.behind import ALIAS, Behind
from tests.modes.conftest import ALONE, MODES, Lead
from tests.modes.rows import LOCK
from tests.waiting import until


@pytest.mark.parametrize("theirs", [ALONE, *MODES])
def test_a_pool_knows_whether_a_pooler_is_before_its_server(lead: Lead, theirs: str) -> None:
    with lead("session", theirs) as behind:
        pid = behind.value("SELECT pg_backend_pid()")
        seen = behind.pool.snapshot()
        # Behind one there is no process of the server's that is the connection's.
        assert seen.behind_pooler is (theirs != ALONE)
        assert seen.backend_pids == ((pid,) if theirs == ALONE else ())
        assert [each.backend_pid for each in seen.holders] == [pid if theirs == ALONE else 0]


def test_that_costs_a_checkout_nothing(lead: Lead, bouncer: Bouncer) -> None:
    with lead("transaction", "transaction") as behind:

        def statements() -> int:
            return sum(
                row["total_query_count"] for row in bouncer.console("SHOW STATS") if row["database"] == "transaction"
            )

        behind.query("SELECT 1")
        before = statements()
        for _ in range(20):
            behind.query("SELECT 1")
        assert statements() - before == 20


# -- session state ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("theirs", ["transaction", pytest.param("statement", marks=pytest.mark.long)])
def test_what_a_borrower_has_left_is_taken_away_at_nobody_else_s_expense(
    lead: Lead, theirs: str, caplog: pytest.LogCaptureFixture
) -> None:
    there = "SELECT to_regclass('pg_temp.somebody_s') IS NOT NULL"
    with lead("session", theirs) as behind, psycopg.connect(behind.url, autocommit=True) as somebody:
        behind.value("SELECT 1")
        first = behind.connection.connection
        somebody.execute("CREATE TEMPORARY TABLE somebody_s (word text)")
        for _ in range(2):
            behind.query("SET TIME ZONE 'Asia/Kolkata'")
            behind.connection.close()
            until(lambda: not behind.pool.snapshot().size, "the connection to be closed")
        # A DISCARD ALL would have come to whichever server connection was free.
        assert somebody.execute(there).fetchone() == (True,)
        assert behind.value("SHOW TIME ZONE") != "Asia/Kolkata"
        assert behind.connection.connection is not first
        assert behind.pool.snapshot().cleaned == 0
    told = [each.getMessage() for each in caplog.records if each.levelno == logging.WARNING]
    assert [each for each in told if "has left session state (SET)" in each] == told[:1]


def test_a_validation_query_gives_up_no_lock_of_somebody_else_s(lead: Lead) -> None:
    pool = {"validation": "query", "validation_query": "SELECT 2"}
    with lead("session", "transaction", pool=pool) as behind, psycopg.connect(behind.url, autocommit=True) as somebody:
        behind.value("SELECT 1")
        somebody.execute("SELECT pg_advisory_lock(%s)", [LOCK])
        behind.connection.close()
        behind.value("SELECT 1")
        assert somebody.execute("SELECT pg_advisory_unlock(%s)", [LOCK]).fetchone() == (True,)


@pytest.mark.long
def test_what_a_task_has_left_costs_its_connection_too(lead: Lead, bouncer: Bouncer) -> None:
    async def visit(behind: Behind) -> str:
        async with behind.connection.pool_for_tasks.connection() as conn:
            zone = await (await conn.execute("SHOW TIME ZONE")).fetchone()
            await conn.execute("SET TIME ZONE 'Asia/Kolkata'")
        return str(zone[0])

    with lead("transaction", "transaction") as behind, psycopg.connect(behind.url, autocommit=True) as somebody:
        somebody.execute("CREATE TEMPORARY TABLE somebody_s (word text)")
        behind.value("SELECT 1")
        found = {asyncio.run(visit(behind)) for _ in range(3)}
        assert "Asia/Kolkata" not in found
        assert somebody.execute("SELECT to_regclass('pg_temp.somebody_s') IS NOT NULL").fetchone() == (True,)
        assert behind.pool.snapshot().cleaned == 0


def test_what_a_connection_lost_to_psycopg_alone_is_no_trace(lead: Lead, caplog: pytest.LogCaptureFixture) -> None:
    with lead("session", "transaction") as behind:
        behind.value("SELECT nextval(%s)", _sequence(behind))
        behind.connection.connection.prepare_threshold = 3
        behind.connection.close()
        until(lambda: not behind.pool.snapshot().size, "the connection to be closed")
    assert "session state" not in caplog.text


def _sequence(behind: Behind) -> str:
    behind.at_server("CREATE SEQUENCE IF NOT EXISTS numbers")
    return "numbers"


@pytest.mark.long
def test_a_newer_pgbouncer_keeps_a_tenant_s_path_where_it_is_told_to(
    bouncer: Bouncer, make_bouncer: Callable[..., Bouncer]
) -> None:
    names = [row["key"] for row in bouncer.console("SHOW CONFIG")]
    assert ("track_extra_parameters" in names) is (bouncer.version >= (1, 20))
    if "track_extra_parameters" in names:
        keeping = make_bouncer({"app": ""}, track_extra_parameters="search_path,IntervalStyle")
        with keeping.client(autocommit=True) as one, keeping.client(autocommit=True) as other:
            one.execute("SET search_path = tenant_one")
            assert other.execute("SHOW search_path").fetchone() != ("tenant_one",)
            assert one.execute("SHOW search_path").fetchone() == ("tenant_one",)


# -- pinned() -----------------------------------------------------------------------------------------------------------

_REFUSED = (
    "pinned() is refused on database 'behind': the pooler before its server gives the server connection to others"
)


@pytest.mark.parametrize("ours", ["transaction", pytest.param("session", marks=pytest.mark.long)])
def test_pinned_is_refused_where_the_server_connection_is_shared(lead: Lead, ours: str) -> None:
    with lead(ours, "transaction") as behind:

        def expect_refusal() -> None:
            with pytest.raises(ModeError, match=re.escape(_REFUSED)), poolmgr.pinned(ALIAS):
                behind.query("SELECT 1")
                pytest.fail("a query was run in a block that can't be kept")

        expect_refusal()  # whoever connects first only learns of it
        assert behind.connection.connection is None or ours == "session"
        expect_refusal()  # known beforehand
        behind.query("SELECT 1")
        expect_refusal()  # with a connection in hand
        with transaction.atomic(using=ALIAS):
            expect_refusal()
            assert behind.value("SELECT 1") == 1
        with poolmgr.unpooled(ALIAS):
            expect_refusal()
        assert behind.value("SELECT 1") == 1
        behind.connection.close()
        assert (behind.pool.snapshot().used, behind.pool.snapshot().idle) == (0, 1)


def test_a_mode_that_is_changed_at_pgbouncer_counts_at_once(lead: Lead, bouncer: Bouncer) -> None:
    with lead("session", "session") as behind:
        with poolmgr.pinned(ALIAS):
            behind.query("SELECT 1")
        with _by_transaction(bouncer), pytest.raises(ModeError), poolmgr.pinned(ALIAS):
            behind.query("SELECT 1")


@contextmanager
def _by_transaction(bouncer: Bouncer) -> Iterator[None]:
    """What PgBouncer pools by session it pools by transaction for the block."""
    bouncer.databases["session"] = "pool_mode=transaction"
    try:
        bouncer.write(default_pool_size=5)
        bouncer.console("RELOAD")
        yield
    finally:
        bouncer.databases["session"] = "pool_mode=session"
        bouncer.write(default_pool_size=5)
        bouncer.console("RELOAD")


@pytest.mark.parametrize("ours", ["transaction", pytest.param("session", marks=pytest.mark.long)])
def test_a_mode_that_is_changed_in_the_middle_of_a_block_is_told_at_its_end(
    lead: Lead, bouncer: Bouncer, ours: str
) -> None:
    with lead(ours, "session") as behind, ExitStack() as changed:
        with pytest.raises(ModeError, match="was not kept on database 'behind'"), poolmgr.pinned(ALIAS):
            behind.query("SELECT set_config('lock_timeout', '12345ms', false)")
            with poolmgr.pinned(ALIAS):
                behind.query("SELECT 1")
                changed.enter_context(_by_transaction(bouncer))
                behind.query("SELECT 1")
        behind.connection.close()
        changed.close()
        # An error of the block's own is what is raised.
        with pytest.raises(ZeroDivisionError), poolmgr.pinned(ALIAS):
            behind.query("SELECT 1")
            changed.enter_context(_by_transaction(bouncer))
            raise ZeroDivisionError
        changed.close()
        # One transaction has one server connection, whatever else changes.
        with transaction.atomic(using=ALIAS), poolmgr.pinned(ALIAS):
            behind.query("SELECT 1")
            changed.enter_context(_by_transaction(bouncer))


@pytest.mark.long
def test_with_every_server_connection_taken_pinned_knows_or_says_that_it_does_not(lead: Lead) -> None:  # P8
    with lead("session", "session") as behind:
        behind.query("SELECT 1")
        # A second connection to see it by has to wait, and this one still has its own.
        with behind.neighbours(4), poolmgr.pinned(ALIAS):
            assert behind.value("SELECT 1") == 1
    with lead("session", "transaction") as behind:
        behind.query("SELECT 1")
        with behind.neighbours(5):
            began = monotonic()
            with pytest.raises(ModeError, match="could not be told"), poolmgr.pinned(ALIAS):
                pass
            assert monotonic() - began < 2
        assert behind.value("SELECT 1") == 1  # and not the answer to what was asked before


@pytest.mark.long
def test_a_frozen_pgbouncer_keeps_pinned_no_longer_than_it_looks(lead: Lead, bouncer: Bouncer) -> None:  # P8
    with lead("session", "session") as behind:
        behind.query("SELECT 1")
        bouncer.freeze()
        try:
            began = monotonic()
            with pytest.raises(ModeError, match="could not be told"), poolmgr.pinned(ALIAS):
                pass
            assert monotonic() - began < 2
        finally:
            bouncer.thaw()
        assert behind.value("SELECT 1") == 1


@pytest.mark.long
def test_who_waits_in_pgbouncer_s_queue_keeps_their_place_there(lead: Lead, bouncer: Bouncer) -> None:
    with psycopg.connect(bouncer.behind.geturl()) as looking:
        zone = looking.info.parameter_status("TimeZone")  # then a connect asks for nothing else
    with lead("transaction", "transaction", pool={"connection_timeout": 20.0}, TIME_ZONE=zone) as behind:

        def waits() -> list[int]:
            rows = bouncer.console("SHOW POOLS")
            return [row["maxwait"] for row in rows if row["database"] == "transaction" and row["cl_waiting"]]

        with behind.neighbours(5):
            asking = Thread(target=lambda: behind.value("SELECT 1"))
            asking.start()
            # Longer than a question to a server that is silent lasts.
            until(lambda: max(waits(), default=0) >= 6, "the wait to be long")
            assert registry.get(ALIAS).snapshot().create_errors == 0  # type: ignore[union-attr]
        asking.join()


# -- what is counted ----------------------------------------------------------------------------------------------------


def test_the_fleet_s_connections_are_counted_as_its_own(lead: Lead, transactional_db: None) -> None:
    with lead("session", "transaction") as behind:
        with behind.neighbours():
            behind.query("SELECT 1")
            check = check_target(ALIAS)
            assert (check.behind_pooler, check.state) == (True, "ok")
            # That of the pool, which the check has used as well; the neighbour goes by no name of ours.
            assert check.ours == 1
        # What of PgBouncer's bears another's name, or none, is not known to be anybody's.
        behind.clear()
        unnamed = {**connections.settings[ALIAS]["OPTIONS"], "application_name": "shop"}
        connections.settings[ALIAS]["OPTIONS"] = unnamed
        del connections[ALIAS]
        registry.close(ALIAS)
        behind.query("SELECT 1")
        assert check_target(ALIAS).ours is None
    with lead("session", ALONE) as behind:
        behind.query("SELECT 1")
        check = check_target(ALIAS)
        # Those of the site's own database, on the same server, are none of strangers.
        of_the_site = registry.get("default")
        assert of_the_site is not None
        assert (check.behind_pooler, check.ours) == (False, 1 + len(of_the_site.snapshot().backend_pids))


def test_poolcheck_says_that_a_pooler_is_before_the_server(
    lead: Lead, transactional_db: None, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(agent, "_aside", False)  # which the command sets for the rest of its process
    with lead("session", "transaction") as behind:
        behind.query("SELECT 1")
        command("poolcheck", ALIAS)
        assert re.search(rf"{ALIAS} .* \d+/\d+ \(1 ours, behind a pooler\)", capsys.readouterr().out)


def test_what_a_declared_pgbouncer_has_at_the_server_is_the_fleet_s(lead: Lead, bouncer: Bouncer, db: None) -> None:
    declared = Declared("bouncer", "pgbouncer", bouncer.console_url(), {}, {"DATABASES": ["transaction"]})
    pool = BouncerPool(declared)
    pool.open()
    try:
        pool.lead(float("inf"))
        with lead("session", "transaction") as behind, behind.neighbours():
            behind.query("SELECT 1")
            pid = behind.value("SELECT pg_backend_pid()")
            until(lambda: pid in pool.snapshot().backend_pids, "the console to tell of it")
            beat = ProcessBeat("1", "host", 1, "web", 0.0, 0.0, pools=(pool.snapshot(),))
            assert pid in pooler_pids(ALIAS, [beat])
            # The neighbour's too: it is a connection of PgBouncer's, whoever uses it now.
            assert Probe(ALIAS, 5.0, lambda: None).result((), None, pooler_pids(ALIAS, [beat])).ours == 2
        with lead("session", ALONE):
            assert pooler_pids(ALIAS, [beat]) == set()
    finally:
        pool.close(5)


@pytest.mark.long
@pytest.mark.parametrize("kind", ["sqlalchemy", "sqlalchemy by asyncio", "asyncpg"])
def test_a_check_of_another_library_s_pool_knows_it_too(bouncer: Bouncer, settings: Any, kind: str) -> None:
    driver = {"sqlalchemy": "+psycopg", "sqlalchemy by asyncio": "+asyncpg", "asyncpg": ""}[kind]
    for url, behind in ((bouncer.behind.geturl(), False), (bouncer.url("session"), True)):
        declared = {"KIND": kind.split()[0], "URL": url.replace("postgresql:", f"postgresql{driver}:")}
        settings.POOLMGR = {**settings.POOLMGR, "AGENT": False, "TARGETS": {"reports": declared}}
        check = Probe("reports", 5.0, lambda: "SELECT 1").result(())
        assert (check.state, check.behind_pooler) == ("ok", behind), check.message
        registry.close("reports")


def _by_an_engine(url: str) -> None:
    engine = create_engine("reports", url.replace("postgresql:", "postgresql+psycopg:"))
    with engine.connect() as conn:
        _expect_known(conn.exec_driver_sql("SELECT pg_backend_pid()").scalar(), url)
        conn.invalidate()
        conn.rollback()  # the next is another one, in the same hands
        _expect_known(conn.exec_driver_sql("SELECT pg_backend_pid()").scalar(), url)


def _in_a_loop(driver: str) -> Callable[[str], None]:
    async def work(url: str) -> None:
        # Below PgBouncer 1.21 asyncpg's statements are not found again.
        how = {"connect_args": {"statement_cache_size": 0}} if driver == "asyncpg" else {}
        engine = create_async_engine("reports", url.replace("postgresql:", f"postgresql+{driver}:"), **how)
        async with engine.connect() as conn:
            _expect_known((await conn.exec_driver_sql("SELECT pg_backend_pid()")).scalar(), url)
        await engine.dispose()

    return lambda url: asyncio.run(work(url))


def _by_asyncpg(url: str) -> None:
    async def work() -> None:
        pool = AsyncpgPool(Maker(of_url(url, {"statement_cache_size": 0})), target="reports")
        async with pool.acquire() as conn:
            _expect_known(await conn.fetchval("SELECT pg_backend_pid()"), url)
        await pool.close()

    asyncio.run(work())


def _expect_known(pid: int, url: str) -> None:
    seen, behind = registry.get("reports").snapshot(), url.endswith("/session")
    assert seen.behind_pooler is behind
    # One in a thousand numbers that a pooler makes up could be a process's.
    assert seen.backend_pids == (() if behind else (pid,))
    assert [each.backend_pid for each in seen.holders] == [0 if behind else pid]


@pytest.mark.parametrize(
    "work",
    [
        _by_an_engine,
        pytest.param(_in_a_loop("psycopg"), marks=pytest.mark.long),
        pytest.param(_in_a_loop("asyncpg"), marks=pytest.mark.long),
        pytest.param(_by_asyncpg, marks=pytest.mark.long),
    ],
    ids=["sqlalchemy", "sqlalchemy by psycopg in a loop", "sqlalchemy by asyncpg", "asyncpg"],
)
def test_another_library_s_pool_knows_while_it_runs_whether_a_pooler_is_before_its_server(
    bouncer: Bouncer, settings: Any, work: Callable[[str], None]
) -> None:
    settings.POOLMGR = {**settings.POOLMGR, "AGENT": False}
    for url in (bouncer.behind.geturl(), bouncer.url("session")):
        work(url)
        registry.close("reports")


@pytest.mark.long
def test_an_engine_by_psycopg_prepares_nothing_where_it_is_told_to(lead: Lead, bouncer: Bouncer, settings: Any) -> None:
    settings.POOLMGR = {**settings.POOLMGR, "AGENT": False}

    def ask(url: str, arguments: dict[str, Any]) -> list[int]:
        engine = create_engine("reports", url.replace("postgresql:", "postgresql+psycopg:"), connect_args=arguments)
        found = []
        try:
            for number in range(10):
                with behind.neighbours(number % 2), engine.begin() as conn:
                    found.append(conn.exec_driver_sql("SELECT %s::int", (number,)).scalar())
        finally:
            registry.close("reports")
        return found

    with lead("session", "transaction") as behind:
        assert ask(behind.url, {"prepare_threshold": None}) == [*range(10)]
        if bouncer.version >= (1, 21):
            assert ask(behind.url, {}) == [*range(10)]
        else:
            with pytest.raises(ProgrammingError, match="prepared statement"):
                ask(behind.url, {})


def test_a_process_that_is_gone_is_not_said_to_hold_what_it_has_used_last(
    lead: Lead, settings: Any, transactional_db: None
) -> None:
    with lead("session", "transaction") as behind:
        settings.POOLMGR = {**settings.POOLMGR, "HEARTBEAT_INTERVAL": 0.1, "PROCESS_TTL": 0.3}
        with psycopg.connect(behind.url, autocommit=True, application_name="poolmgr:web:gone:1") as gone:
            gone.execute("SELECT 1")
        live = [ProcessBeat("1", "host", 1, "web", 0.0, 0.0)]
        old = (
            "SELECT now() - backend_start > '0.3 s' FROM pg_stat_activity WHERE application_name = 'poolmgr:web:gone:1'"
        )
        with psycopg.connect(behind.direct, autocommit=True) as looking:
            until(lambda: looking.execute(old).fetchone() == (True,), "the connection to be old")
        assert Probe(ALIAS, 5.0, lambda: None).result((), live).state == "ok"


def test_the_form_says_of_no_room_that_pgbouncer_bounds_by_itself(lead: Lead, transactional_db: None) -> None:
    def room() -> tuple[str, str]:
        told = foresee_save(PoolProfile(target=ALIAS, max_size=1000)).consequences
        return next((each.severity, each.sentence) for each in told if each.code == "room")

    with lead("session", ALONE):
        assert room()[0] == "confirm"
    with lead("session", "transaction"):
        severity, said = room()
        assert (severity, said.rpartition(": ")[2]) == (
            "unknown",
            "a pooler stands before it, whose own sizes bound what reaches it.",
        )


# -- the system check ---------------------------------------------------------------------------------------------------


def _told(**given: Any) -> list[str]:
    found = [each for each in check_databases(**given) if f"[{ALIAS!r}]" in each.msg]
    assert {each.id for each in found} <= {"poolmgr.W004"}
    assert all(each.hint for each in found)
    return [each.msg for each in found]


CURSORS = {"DISABLE_SERVER_SIDE_CURSORS": True}


@pytest.mark.parametrize(
    ("ours", "theirs", "more", "told"),
    [
        ("session", ALONE, {"PORT": "6432"}, []),
        ("session", "session", {"prepare_threshold": 0, "assume_role": "x"}, []),
        ("session", "transaction", {}, ["pools by transaction: iterator()"]),
        ("session", "transaction", CURSORS, []),
        ("session", "transaction", {**CURSORS, "assume_role": "pg_monitor"}, ["pools by transaction: assume_role"]),
        ("session", "statement", CURSORS, ["pools by statement: each atomic() fails"]),
        ("statement", "statement", CURSORS, ["pools by statement: what this pool's statement mode allows"]),
    ],
)
def test_the_check_knows_what_is_before_a_server_where_it_may_connect(
    lead: Lead, ours: str, theirs: str, more: dict[str, Any], told: list[str]
) -> None:
    port = more.get("PORT")
    with lead(ours, theirs, **{name: value for name, value in more.items() if name != "PORT"}):
        assert _told() == []
        found = _told(databases=[ALIAS])
        assert len(found) == len(told)
        assert all(words in each for words, each in zip(told, found, strict=True))
        assert port is None or "seems" in _guessed(port)[0]


def test_the_check_knows_whether_prepared_statements_are_kept(lead: Lead, bouncer: Bouncer) -> None:
    with lead("session", "transaction", prepare_threshold=0, DISABLE_SERVER_SIDE_CURSORS=True) as behind:
        for _ in range(2):
            found = _told(databases=[ALIAS])
            assert ["pools by transaction: prepare_threshold" in each for each in found] == [True] * (
                bouncer.version < (1, 21)
            )
        # It has tried, and left nothing of that on a server connection but what PgBouncer has taken for its own.
        with psycopg.connect(behind.url, autocommit=True, prepare_threshold=None) as looking:
            left = looking.execute("SELECT count(*) FROM pg_prepared_statements WHERE name NOT LIKE 'PGBOUNCER%'")
            assert left.fetchone() == (0,)


def _guessed(port: str) -> list[str]:
    """What is said where it may not connect."""
    right, connections.settings[ALIAS]["PORT"] = connections.settings[ALIAS]["PORT"], port
    try:
        return _told()
    finally:
        connections.settings[ALIAS]["PORT"] = right


def test_the_check_guesses_where_nobody_answers(lead: Lead) -> None:
    with lead("session", ALONE):
        connections.settings[ALIAS].update(PORT="6432", HOST="127.0.0.1", NAME="nothing")
        assert "seems to lead to a PgBouncer" in _told(databases=[ALIAS])[0]
