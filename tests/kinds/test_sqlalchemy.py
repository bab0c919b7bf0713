"""What is SQLAlchemy's alone: its words, events, invalidation, dispose(), two-phase, any dialect."""

import logging
import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest
import sqlalchemy
from sqlalchemy import event, text
from sqlalchemy.orm import Session

import poolmgr
from poolmgr import exceptions
from poolmgr.control.reporting.probe import Probe
from poolmgr.pools import registry
from poolmgr.pools.desired import Desired
from poolmgr.pools.groups.group import Group
from poolmgr.pools.lane import console_lane
from poolmgr.targets.known import address_of, kind_of, known_targets
from poolmgr.targets.sqlalchemy import create_engine, manage
from poolmgr.targets.sqlalchemy.errors import ERRORS
from poolmgr.targets.sqlalchemy.kind import SQLALCHEMY
from poolmgr.targets.sqlalchemy.pool import ManagedQueuePool
from tests import pools
from tests.agents import without_agent
from tests.forking import in_child
from tests.waiting import until

Make = Callable[..., Any]
PID = text("SELECT pg_backend_pid()")
#: A name that no other test gives its pool.
TARGET = "sqlalchemy-test"


@pytest.fixture
def url(postgres: Any) -> str:
    return str(postgres.create_database("kinds")).replace("postgresql://", "postgresql+psycopg://")


@pytest.fixture(autouse=True)
def no_agent(settings: Any) -> None:
    """Which the first pool of the registry would start, with no database to read profiles from."""
    settings.POOLMGR = {**settings.POOLMGR, "AGENT": False}
    without_agent()


@pytest.fixture
def make(url: str) -> Iterator[Make]:
    """make(**arguments): an engine on the server, or at another `url`."""
    made: list[Any] = []

    def one(*, target: str = TARGET, url: str = url, **arguments: Any) -> Any:
        made.append(create_engine(target, url, **arguments))
        return made[-1]

    yield one
    for engine in made:
        engine.dispose()


def _backends(url: str) -> set[int]:
    return pools.backends(url.replace("+psycopg", ""))


def _pid(engine: Any) -> int:
    with engine.connect() as conn:
        return int(conn.scalar(PID))


def test_pool_of_a_target_is_in_the_registry_and_follows_its_profile(make: Make) -> None:  # P5
    engine = make(pool={"max_size": 3})
    assert registry.get(TARGET) is None
    _pid(engine)
    group = registry.get(TARGET)
    assert isinstance(group, Group)
    assert list(group.members.values()) == [engine.pool.managed]
    registry.set_desired({TARGET: Desired(SQLALCHEMY.make_spec({"max_size": 7}), "profile 1", 1)})
    assert (engine.pool.size(), engine.pool.managed.snapshot().profile) == (7, "profile 1")
    registry.set_desired({})
    assert engine.pool.size() == 3


def test_two_engines_of_one_target_are_refused_with_a_sentence(make: Make) -> None:
    _pid(make())
    with pytest.raises(exceptions.ConfigurationError, match="has another pool in this process"):
        make().connect()


WORDS = [
    ({"pool_size": 3, "max_overflow": 4}, {"max_size": 7}),
    ({"pool_size": 3}, {"max_size": 13}),
    ({"max_overflow": 0}, {"max_size": 5}),
    ({"pool_timeout": 2.5}, {"connection_timeout": 2.5}),
    ({"pool_recycle": 60}, {"max_lifetime": 60}),
    ({"pool_recycle": -1}, {"max_lifetime": 0}),
    ({"pool_pre_ping": True}, {"validation": "query"}),
]


@pytest.mark.parametrize(("theirs", "ours"), WORDS)
def test_sqlalchemy_s_words_are_ours(make: Make, theirs: dict[str, Any], ours: dict[str, Any]) -> None:
    spec = make(target="", **theirs).pool.managed.spec
    assert {name: getattr(spec, name) for name in ours} == ours


REFUSED = [
    ({"pool_size": 0}, "without bound"),
    ({"max_overflow": -1}, "without bound"),
    ({"pool_recycle": 0}, "pool_recycle is 0"),
    ({"pool_size": 3, "pool": {"max_size": 3}}, "which means the same"),
    ({"pool": "big"}, "must be a dict"),
    ({"pool": {"pool_mode": "transaction"}}, "at the end of a Connection or Session"),
    ({"poolclass": sqlalchemy.pool.NullPool}, "leave it out"),
    ({"url": "sqlite://"}, "in-memory"),
]


@pytest.mark.parametrize(("arguments", "sentence"), REFUSED)
def test_what_a_managed_pool_cannot_be_is_refused(make: Make, arguments: dict[str, Any], sentence: str) -> None:
    with pytest.raises(exceptions.ConfigurationError, match=sentence):
        make(**arguments)


def test_events_come_as_sqlalchemy_documents(make: Make) -> None:
    engine = make(pool={"max_size": 1})
    told: list[str] = []
    for name in ("first_connect", "connect", "checkout", "reset", "checkin", "invalidate", "close"):
        event.listen(engine, name, lambda *args, name=name: told.append(name))
    first = _pid(engine)
    assert _pid(engine) == first
    assert told == ["first_connect", "connect", *["checkout", "reset", "checkin"] * 2]
    told.clear()
    engine.pool.managed.recycle(10)
    until(lambda: sorted(told) == ["close", "connect"])
    told.clear()
    with engine.connect() as conn:
        conn.invalidate()
    assert told == ["checkout", "invalidate", "close", "checkin"]


def test_info_lives_as_long_as_the_physical_connection(make: Make) -> None:
    engine = make(pool={"max_size": 1})
    with engine.connect() as conn:
        conn.info["seen"] = True
    with engine.connect() as conn:
        assert conn.info == {"seen": True}
    engine.pool.managed.recycle(10)
    with engine.connect() as conn:
        assert conn.info == {}


def test_rollback_undoes_and_commit_keeps(make: Make) -> None:
    engine = make(pool={"max_size": 1})
    with engine.begin() as conn:
        conn.execute(text("CREATE TABLE kept (name text)"))
    with engine.connect() as conn:
        conn.execute(text("INSERT INTO kept VALUES ('committed')"))
        conn.commit()
        conn.execute(text("INSERT INTO kept VALUES ('rolled back')"))
        conn.rollback()
        conn.execute(text("INSERT INTO kept VALUES ('left open')"))
    with engine.connect() as conn:
        assert conn.scalars(text("SELECT name FROM kept")).all() == ["committed"]


def test_invalidated_connection_is_replaced_within_its_place(make: Make, url: str) -> None:  # P6
    engine = make(pool={"max_size": 1})
    with engine.connect() as conn:
        first = conn.scalar(PID)
        conn.invalidate()
        conn.rollback()
        second = conn.scalar(PID)
        assert second != first
        assert _backends(url) == {second}
    until(lambda: engine.pool.managed.load().held == 1)


def test_soft_invalidation_replaces_the_connection_before_its_next_use(make: Make) -> None:
    engine = make(pool={"max_size": 1})
    with engine.connect() as conn:
        first = conn.scalar(PID)
        conn.connection.invalidate(soft=True)
        assert conn.scalar(PID) == first
    assert _pid(engine) != first


def test_a_broken_connection_invalidates_those_that_are_as_old(make: Make, url: str) -> None:  # P7
    engine = make(pool={"max_size": 3})
    held = [engine.connect() for _ in range(3)]
    pids = {conn.scalar(PID) for conn in held}
    for conn in held[1:]:
        conn.close()
    os.kill(held[0].scalar(PID), 15)
    with pytest.raises(sqlalchemy.exc.OperationalError) as caught:
        until(lambda: held[0].scalar(PID) is None)
    assert caught.value.connection_invalidated
    held[0].close()
    until(lambda: not pids & _backends(url))
    assert _pid(engine) not in pids


def test_listener_that_refuses_a_connection_gets_another_in_its_place(make: Make, url: str) -> None:  # P6
    engine = make(pool={"max_size": 1})
    first = _pid(engine)

    @event.listens_for(engine, "checkout")
    def refuse(connection: Any, record: Any, proxy: Any) -> None:
        if connection.info.backend_pid == first:
            raise sqlalchemy.exc.DisconnectionError("not this one")

    with engine.connect() as conn:
        second = conn.scalar(PID)
        assert second != first
        assert _backends(url) == {second} == set(engine.pool.managed.snapshot().backend_pids)
    assert _pid(engine) == second
    seen = engine.pool.managed.snapshot()
    assert (seen.created, seen.closed, seen.size) == (2, 1, 1)


def test_connect_listener_that_fails_costs_no_place(make: Make, url: str) -> None:  # P4
    engine = make(pool={"max_size": 1, "connection_timeout": 0.5})

    @event.listens_for(engine, "connect")
    def fail(connection: Any, record: Any) -> None:
        raise RuntimeError("the listener's own")

    with pytest.raises(RuntimeError, match="the listener's own"):
        engine.connect()
    event.remove(engine, "connect", fail)
    assert _pid(engine) in _backends(url)
    until(lambda: len(_backends(url)) == 1)


def test_dispose_closes_what_is_idle_now_and_what_is_used_as_it_returns(make: Make, url: str) -> None:
    engine = make(pool={"max_size": 2, "min_size": 2})
    with engine.connect() as conn:
        used = conn.scalar(PID)
        engine.dispose()
        assert _backends(url) == {used}
        assert conn.scalar(PID) == used
    until(lambda: not _backends(url))
    told: list[Any] = []
    event.listen(engine, "checkout", lambda *args: told.append(args))
    assert _pid(engine) != used
    assert len(told) == 1


def test_whoever_waits_while_the_engine_is_disposed_of_is_served(make: Make) -> None:
    engine = make(pool={"max_size": 1, "connection_timeout": 20})
    conn = engine.connect()
    first, got = conn.scalar(PID), []
    thread = threading.Thread(target=lambda: got.append(_pid(engine)))
    thread.start()
    until(lambda: engine.pool.managed.load().pending)
    engine.dispose()
    # What is out still counts with what there may be.
    assert not got
    conn.close()
    thread.join()
    assert got != [first]


def test_dispose_of_a_parent_s_engine_in_a_child_leaves_the_parent_alone(make: Make) -> None:  # P3
    engine = make(pool={"max_size": 2})
    with engine.connect() as conn:
        first = conn.scalar(PID)
        idle = _pid(engine)

        def child() -> int:
            engine.dispose()
            return _pid(engine)

        assert in_child(child) not in (first, idle)
        assert conn.scalar(PID) == first
    assert _pid(engine) in (first, idle)


def test_detached_connection_lives_on_and_its_place_is_free(make: Make, url: str) -> None:
    engine = make(pool={"max_size": 1})
    with engine.connect() as conn:
        conn.detach()
        first = conn.scalar(PID)
        assert _pid(engine) != first
        assert conn.scalar(PID) == first
    until(lambda: len(_backends(url)) == 1)


@pytest.fixture
def two_phased(make_postgres: Any) -> Iterator[Any]:
    """An engine on a server that has room for prepared transactions, and a table."""
    server = make_postgres(max_prepared_transactions=5)
    url = str(server.create_database("twophase")).replace("postgresql://", "postgresql+psycopg://")
    engine = create_engine(TARGET, url, pool={"max_size": 1})
    with engine.begin() as conn:
        conn.execute(text("CREATE TABLE twice (name text)"))
    yield engine
    engine.dispose()


def _prepare(conn: Any, name: str) -> Any:
    both = conn.begin_twophase()
    conn.execute(text("INSERT INTO twice VALUES (:name)"), {"name": name})
    both.prepare()
    return both


@pytest.mark.long
def test_two_phase_transactions_are_prepared_and_committed(two_phased: Any) -> None:
    with two_phased.connect() as conn:
        for name in ("kept", "undone"):
            both = _prepare(conn, name)
            both.commit() if name == "kept" else both.rollback()
    with two_phased.connect() as conn:
        assert conn.scalars(text("SELECT name FROM twice")).all() == ["kept"]


@pytest.mark.long
def test_transaction_that_was_prepared_and_left_can_be_ended_by_its_name(two_phased: Any) -> None:  # P2
    raw = two_phased.raw_connection()
    first = raw.driver_connection.info.backend_pid
    raw.driver_connection.tpc_begin("left")
    raw.cursor().execute("INSERT INTO twice VALUES ('left')")
    raw.driver_connection.tpc_prepare()
    raw.close()
    # psycopg refuses to roll back what is prepared, so that nobody gets this connection.
    with two_phased.connect() as conn:
        assert conn.scalar(PID) != first
        (xid,) = conn.recover_twophase()
        assert xid == "left"
        conn.commit_prepared(xid, recover=True)
    with two_phased.connect() as conn:
        assert conn.scalars(text("SELECT name FROM twice")).all() == ["left"]


@pytest.mark.long
def test_session_commits_both_its_binds_or_none(two_phased: Any) -> None:
    with Session(two_phased, twophase=True) as session:
        session.execute(text("INSERT INTO twice VALUES ('kept')"))
        session.commit()
        session.execute(text("INSERT INTO twice VALUES ('undone')"))
        session.prepare()
        session.rollback()
        assert session.scalars(text("SELECT name FROM twice")).all() == ["kept"]
    assert two_phased.pool.managed.snapshot().used == 0


def test_return_rolls_back_whatever_the_driver_s_connection_was_left_in(make: Make) -> None:  # P2
    engine = make(pool={"max_size": 1})
    raw = engine.raw_connection()
    raw.cursor().execute("SELECT 1")
    raw.close()
    raw = engine.raw_connection()
    with pytest.raises(psycopg.errors.DivisionByZero):
        raw.cursor().execute("SELECT 1 / 0")
    raw.close()
    with engine.connect() as conn:
        assert conn.connection.driver_connection.info.transaction_status == 0
        pid = conn.scalar(PID)
    assert _pid(engine) == pid
    assert engine.pool.managed.snapshot().created == 1


def test_validation_query_of_the_site_s_own_only_reads_and_leaves_no_transaction(make: Make, url: str) -> None:
    engine = make(pool={"max_size": 1, "validation": "query", "validation_query": "SELECT 40 + 2"})
    with engine.connect() as conn:
        first = conn.scalar(PID)
    with engine.connect() as conn:
        assert conn.connection.dbapi_connection.info.transaction_status == 0
        assert conn.scalar(text("SHOW transaction_read_only")) == "off"
        assert conn.scalar(PID) == first


def test_manage_swaps_the_pool_of_an_engine_in_place(url: str) -> None:
    engine = sqlalchemy.create_engine(url, pool_size=2, max_overflow=1, pool_timeout=7, pool_recycle=99)
    told: list[Any] = []
    event.listen(engine, "checkout", lambda *args: told.append(args))
    with engine.connect() as conn:
        first = conn.scalar(PID)
        assert manage(engine, target=TARGET, pool={"max_lifetime": 50}) is engine
        try:
            assert isinstance(engine.pool, ManagedQueuePool)
            second = _pid(engine)
            assert second != first
            assert conn.scalar(PID) == first
            spec = engine.pool.managed.spec
            assert (spec.max_size, spec.connection_timeout, spec.max_lifetime) == (3, 7, 50)
            assert len(told) == 2
            with pytest.raises(exceptions.ConfigurationError, match="is managed already"):
                manage(engine, target="another")
        finally:
            conn.close()
            engine.dispose()
    until(lambda: not _backends(url))


def test_console_lane_never_waits_for_the_pool(make: Make, url: str) -> None:
    engine = make(pool={"max_size": 1, "connection_timeout": 20})
    with engine.connect() as conn, console_lane():
        assert _pid(engine) != conn.scalar(PID)
        until(lambda: len(_backends(url)) == 1)


def test_any_dialect_has_the_same_pool(make: Make, tmp_path: Path) -> None:
    engine = make(url=f"sqlite:///{tmp_path / 'file.db'}", pool={"max_size": 2, "connection_timeout": 0.2})
    with engine.begin() as conn:
        conn.execute(text("CREATE TABLE kept (name text)"))
        conn.execute(text("INSERT INTO kept VALUES ('here')"))
    with engine.connect() as one, engine.connect():
        assert one.scalar(text("SELECT name FROM kept")) == "here"
        with pytest.raises(sqlalchemy.exc.TimeoutError, match="2 in use"):
            engine.connect()
    seen = engine.pool.managed.snapshot()
    assert (seen.kind, seen.idle, seen.address) == ("sqlalchemy", 2, str(tmp_path / "file.db"))
    assert engine.pool.managed.recycle(10).replaced == 2


def test_file_that_is_no_database_is_told_so(make: Make, tmp_path: Path) -> None:  # P9
    engine = make(url=f"sqlite:///{tmp_path}/nowhere/file.db", pool={"connection_timeout": 0.3})
    with pytest.raises(exceptions.ServerDown, match="the database file can't be opened") as caught:
        engine.connect()
    assert isinstance(caught.value, sqlalchemy.exc.OperationalError)


@pytest.mark.parametrize("cls", ERRORS.values(), ids=lambda cls: cls.__name__)
def test_errors_say_their_sentence_and_can_be_passed_on(cls: type[exceptions.CheckoutError]) -> None:
    error = pickle.loads(pickle.dumps(cls("no connection", "reports")))
    assert str(error) == "no connection"
    assert isinstance(error, sqlalchemy.exc.SQLAlchemyError)
    assert isinstance(error, exceptions.CheckoutError)


@pytest.fixture
def declared(settings: Any, url: str) -> Iterator[str]:
    target = {"KIND": "sqlalchemy", "URL": url, "POOL": {"max_size": 3}}
    settings.POOLMGR = {**settings.POOLMGR, "AGENT": False, "TARGETS": {"reports": target}}
    yield "reports"
    registry.close("reports")


def test_declared_target_is_known_and_its_engine_handed_out(declared: str, url: str) -> None:
    assert declared in known_targets()
    assert kind_of(declared) is SQLALCHEMY
    engine = poolmgr.pool(declared)
    assert poolmgr.pool(declared) is engine
    assert _pid(engine) in _backends(url)
    seen = engine.pool.managed.snapshot()
    assert (seen.target, seen.kind, seen.max_size) == (declared, "sqlalchemy", 3)
    assert seen.address == address_of(declared) == urlsplit(url).netloc.rpartition("@")[2] + "/kinds"


def test_health_check_asks_through_a_connection_of_its_own(declared: str, url: str) -> None:
    seen = Probe(declared, 5.0, lambda: "SELECT 1").result(())
    assert seen.state == "ok"
    assert seen.connect_time
    assert seen.query_time
    until(lambda: not _backends(url))


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ("reports", r"\['URL'\] is a value that is not shown, but must be a URL such as postgresql"),
        ("nosuch://host/name", r"\['URL'\] is a value that is not shown, but must be a URL that SQLAlchemy can read"),
        ("mysql+mysqldb://host/name", "the engine of 'reports' needs MySQLdb, which is not installed"),
        ("sqlite://", "in-memory"),
    ],
)
def test_url_that_is_of_no_use_is_refused_without_being_shown(settings: Any, given: str, sentence: str) -> None:  # P13
    target = {"KIND": "sqlalchemy", "URL": given}
    settings.POOLMGR = {**settings.POOLMGR, "AGENT": False, "TARGETS": {"reports": target}}
    with pytest.raises(exceptions.ConfigurationError, match=sentence):
        poolmgr.pool("reports")


WITHOUT = """
import sys
sys.modules["sqlalchemy"] = None
from poolmgr.targets.known import known_targets
import django
django.setup()
assert known_targets()
from poolmgr.targets import sqlalchemy
try:
    sqlalchemy.engine
except ImportError as error:
    print(error)
"""


@pytest.mark.long
def test_without_sqlalchemy_the_site_works_and_using_it_names_the_extra() -> None:
    done = subprocess.run([sys.executable, "-c", WITHOUT], capture_output=True, text=True, check=True, env=os.environ)
    assert done.stdout.strip() == "a SQLAlchemy target needs SQLAlchemy: pip install 'poolmgr[sqlalchemy]'"


def test_child_s_return_of_what_it_inherited_tells_nobody_of_a_fault(make: Make, capfd: Any) -> None:  # P3
    engine = make(pool={"max_size": 1})
    conn = engine.connect()
    first = conn.scalar(PID)

    def child() -> int:
        conn.connection.invalidate()
        before = len(os.listdir("/dev/fd"))
        conn.close()
        return len(os.listdir("/dev/fd")) - before

    assert in_child(child) == 0
    assert "Traceback" not in capfd.readouterr().err
    assert conn.scalar(PID) == first
    conn.close()


def test_connection_may_go_back_in_another_thread_than_it_came_in(make: Make) -> None:
    engine = make(pool={"max_size": 1})
    with ThreadPoolExecutor(1) as one, ThreadPoolExecutor(1) as other:
        for _ in range(3):
            conn = one.submit(engine.connect).result()
            other.submit(conn.close).result()
            assert engine.pool.managed.load().used == 0
    seen = engine.pool.managed.snapshot()
    assert (seen.created, seen.reclaimed, seen.idle) == (1, 0, 1)


def test_pool_logs_where_sqlalchemy_s_pools_do(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    engine = make()
    with caplog.at_level(logging.DEBUG, logger="sqlalchemy.pool"):
        engine.pool = engine.pool.recreate()  # a logger's level is read when the pool is made
        _pid(engine)
        engine.dispose()
    said = [record.msg for record in caplog.records if record.name.startswith("sqlalchemy.pool")]
    assert "Connection %r checked out from pool" in said
    assert "Pool disposed. %s" in said
