"""SQLAlchemy on the connections that Django has already: one pool for both, and begin() and rollback() mean it."""

import gc
import os
import threading
from collections.abc import Callable, Iterator
from typing import Any
from unittest.mock import ANY
from urllib.parse import urlsplit
from weakref import ref

import pytest
import sqlalchemy
from django.contrib.auth.models import Group
from django.db import connection, connections, transaction
from django.db.utils import OperationalError
from sqlalchemy import event, text
from sqlalchemy.orm import Session

from poolmgr import exceptions
from poolmgr.pools import registry
from poolmgr.targets.sqlalchemy import engine as engine_of
from poolmgr.targets.sqlalchemy.lent import LentPool
from tests.agents import without_agent
from tests.forking import in_child
from tests.integration.backend import query
from tests.integration.lent import Base, Thing, insertion, names
from tests.waiting import until

Small = Callable[..., Any]


@pytest.fixture
def engine() -> Any:
    """An engine of the test's own, so that no other test's listeners are on it."""
    return engine_of("default", echo=False)


@pytest.fixture
def things(lent_pool: Small, engine: Any) -> Iterator[type[Thing]]:
    lent_pool("transaction", max_size=2)
    Base.metadata.create_all(engine)
    yield Thing
    Base.metadata.drop_all(engine)


def test_rollback_undoes_and_commit_keeps(lent_pool: Small, engine: Any) -> None:  # P3
    lent_pool("transaction")
    with engine.connect() as conn:
        conn.execute(*insertion("rolled back"))
        conn.rollback()
        conn.execute(*insertion("kept"))
        conn.commit()
        conn.execute(*insertion("forgotten"))
    with engine.begin() as conn:
        conn.execute(*insertion("begun"))
    with pytest.raises(ZeroDivisionError), engine.begin() as conn:
        conn.execute(*insertion("failed"))
        raise ZeroDivisionError
    assert names() == {"kept", "begun"}


def test_savepoint_rolls_back_alone(lent_pool: Small, engine: Any) -> None:
    lent_pool("transaction")
    with engine.begin() as conn:
        conn.execute(*insertion("outer"))
        with conn.begin_nested() as nested:
            conn.execute(*insertion("inner"))
            nested.rollback()
    assert names() == {"outer"}


@pytest.mark.parametrize("mode", ["session", "transaction"])
def test_django_finds_its_connection_in_autocommit_again(lent_pool: Small, engine: Any, mode: str) -> None:  # P3
    pool = lent_pool(mode)
    with engine.connect() as conn:
        pid = conn.scalar(text("SELECT pg_backend_pid()"))
    Group.objects.create(name="django's")
    assert query("SELECT pg_backend_pid()")[0][0] == pid
    connection.close()
    with transaction.atomic():
        Group.objects.create(name="django's too")
    connection.close()
    with engine.connect() as conn:
        assert conn.scalar(text("SELECT count(*) FROM auth_group")) == 2
    assert pool.snapshot().created == 1


def test_return_with_a_transaction_open_is_rolled_back_by_the_pool(lent_pool: Small) -> None:  # P3
    pool = lent_pool("transaction")
    bare = engine_of("default", pool_reset_on_return=None)
    raw = bare.raw_connection()
    raw.cursor().execute("INSERT INTO auth_group (name) VALUES ('left open')")
    raw.close()
    until(lambda: pool.snapshot().idle == 1)
    assert names() == set()


def test_clean_return_pins_nothing_and_costs_no_cleaning(lent_pool: Small, engine: Any) -> None:
    pool = lent_pool("transaction")
    for number in range(5):
        with engine.begin() as conn:
            conn.execute(*insertion(f"group {number}"))
    assert not pool.pins
    seen = pool.snapshot()
    assert (seen.cleaned, seen.created, seen.idle) == (0, 1, 1)


def test_session_state_of_sqlalchemy_s_borrowers_is_cleaned(lent_pool: Small, engine: Any) -> None:  # P3
    pool = lent_pool("transaction")
    with engine.connect() as conn:
        conn.execute(text("SET application_name = 'somebody'"))
        conn.commit()
    until(lambda: pool.snapshot().cleaned == 1)
    assert query("SHOW application_name") != [("somebody",)]


def test_isolation_level_of_one_borrower_is_not_the_next_one_s(lent_pool: Small, engine: Any) -> None:  # P3
    lent_pool("transaction")
    with engine.connect().execution_options(isolation_level="SERIALIZABLE") as conn:
        assert conn.scalar(text("SHOW transaction_isolation")) == "serializable"
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as conn:
        conn.execute(*insertion("at once"))
    with engine.connect() as conn:
        assert conn.scalar(text("SHOW transaction_isolation")) == "read committed"
        conn.execute(*insertion("undone"))
    assert names() == {"at once"}
    with transaction.atomic():
        assert query("SHOW transaction_isolation") == [("read committed",)]


def test_connect_is_told_once_for_each_physical_connection(lent_pool: Small, engine: Any) -> None:
    lent_pool("transaction", max_size=2)
    told: list[str] = []
    for name in ("connect", "checkout", "reset", "checkin"):
        event.listen(engine, name, lambda *args, name=name: told.append(name))
    for _ in range(3):
        with engine.connect() as conn:
            conn.scalar(text("SELECT 1"))
    with engine.connect(), engine.connect():
        pass
    assert [told.count(name) for name in ("connect", "checkout", "reset", "checkin")] == [2, 5, 5, 5]


def test_what_a_connect_listener_sets_is_there_for_sqlalchemy_and_not_for_django(
    lent_pool: Small, engine: Any
) -> None:  # P3
    pool = lent_pool("transaction")

    @event.listens_for(engine, "connect")
    def set_name(connection: Any, record: Any) -> None:
        connection.cursor().execute("SET application_name = 'listener'")
        connection.commit()

    for number in range(1, 3):
        with engine.connect() as conn:
            assert conn.scalar(text("SHOW application_name")) == "listener"
        until(lambda number=number: pool.snapshot().cleaned == number)
        assert query("SHOW application_name") != [("listener",)]
        connection.close()


def test_json_is_read_as_each_library_reads_it(things: type[Thing], engine: Any) -> None:
    with Session(engine) as session, session.begin():
        session.add(things(id=1, kept={"a": [1]}))
    with Session(engine) as session:
        assert session.get_one(things, 1).kept == {"a": [1]}
    # Django's own fields expect text.
    assert query("SELECT kept FROM sqlalchemy_things") == [('{"a": [1]}',)]
    with Session(engine) as session:
        assert session.get_one(things, 1).kept == {"a": [1]}


def test_both_share_max_size_and_holders(lent_pool: Small, engine: Any) -> None:  # P6 P9
    pool = lent_pool("transaction", connection_timeout=0.2)
    with transaction.atomic():
        query()
        with pytest.raises(sqlalchemy.exc.TimeoutError, match="held longest by MainThread") as caught:
            engine.connect()
    assert isinstance(caught.value, exceptions.PoolExhausted)
    assert isinstance(caught.value, OperationalError)
    connection.close()
    with engine.connect() as conn:
        pid = conn.scalar(text("SELECT pg_backend_pid()"))
        assert [each.backend_pid for each in pool.snapshot().holders] == [pid]
        with pytest.raises(exceptions.PoolExhausted):
            query()
    connection.close()


def test_statement_mode_refuses_the_transactions_of_sqlalchemy(lent_pool: Small, engine: Any) -> None:
    lent_pool("statement")
    with pytest.raises(exceptions.ModeError, match="statement mode"):
        engine.connect()


def test_invalidated_connection_is_closed_and_its_place_free(lent_pool: Small, engine: Any) -> None:  # P4
    pool = lent_pool("transaction")
    with engine.connect() as conn:
        first = conn.scalar(text("SELECT pg_backend_pid()"))
        conn.invalidate()
        conn.rollback()
        assert conn.scalar(text("SELECT pg_backend_pid()")) != first
    until(lambda: pool.snapshot().size == 1)
    with engine.connect() as conn:
        conn.connection.invalidate(soft=True)
    with engine.connect() as conn:
        assert conn.scalar(text("SELECT 1")) == 1
    until(lambda: pool.snapshot().size == 1)


def test_connection_that_broke_in_use_is_replaced(lent_pool: Small, engine: Any) -> None:  # P4 P7
    pool = lent_pool("transaction")
    with engine.connect() as conn:
        pid = conn.scalar(text("SELECT pg_backend_pid()"))
        conn.rollback()
        os.kill(pid, 15)
        with pytest.raises(sqlalchemy.exc.OperationalError) as caught:
            until(lambda: conn.scalar(text("SELECT 1")) is None)
        assert caught.value.connection_invalidated
    with engine.connect() as conn:
        assert conn.scalar(text("SELECT pg_backend_pid()")) != pid
    until(lambda: pool.snapshot().size == 1)


def test_detached_connection_keeps_its_place_until_it_is_closed(lent_pool: Small, engine: Any) -> None:  # P6
    pool = lent_pool("transaction", max_size=2)
    with engine.connect() as conn:
        conn.detach()
        assert conn.scalar(text("SELECT 1")) == 1
        assert pool.snapshot().used == 1
        assert query() == [(1,)]
    until(lambda: pool.snapshot().used == 0)


def test_what_a_dead_thread_held_comes_back(lent_pool: Small, engine: Any) -> None:  # P4
    pool = lent_pool("transaction", connection_timeout=10)
    kept: list[Any] = []
    thread = threading.Thread(target=lambda: kept.append(engine.connect()))
    thread.start()
    thread.join()
    assert query() == [(1,)]
    assert pool.snapshot().reclaimed == 1
    connection.close()
    kept[0].close()
    with engine.connect() as conn:
        assert conn.scalar(text("SELECT 1")) == 1


def test_dispose_leaves_django_s_connections_alone(lent_pool: Small, engine: Any) -> None:
    pool = lent_pool("transaction")
    with engine.connect() as conn:
        pid = conn.scalar(text("SELECT pg_backend_pid()"))
    engine.dispose()
    assert isinstance(engine.pool, LentPool)
    with engine.connect() as conn:
        assert conn.scalar(text("SELECT pg_backend_pid()")) == pid
    assert pool.snapshot().closed == 0


def test_pool_objects_that_were_disposed_of_are_not_kept_by_the_connections(lent_pool: Small, engine: Any) -> None:
    lent_pool("transaction")
    before = []
    for _ in range(3):
        with engine.connect() as conn:
            conn.scalar(text("SELECT 1"))
        before.append(ref(engine.pool))
        engine.dispose()
    del conn
    gc.collect()
    assert [pool() for pool in before] == [None] * 3


def test_closed_pool_is_followed_by_the_one_that_comes_after(lent_pool: Small, engine: Any) -> None:
    lent_pool("transaction")
    with engine.connect() as conn:
        pid = conn.scalar(text("SELECT pg_backend_pid()"))
    connection.close_pool()  # type: ignore[attr-defined]
    with engine.connect() as conn:
        assert conn.scalar(text("SELECT pg_backend_pid()")) != pid


def test_forked_child_borrows_connections_of_its_own(lent_pool: Small, engine: Any) -> None:  # P3
    lent_pool("transaction")

    def backend() -> Any:
        with engine.connect() as conn:
            return conn.scalar(text("SELECT pg_backend_pid()"))

    pid = backend()
    assert in_child(backend) != pid
    assert backend() == pid


def test_one_engine_for_each_alias_and_a_sentence_where_there_is_no_pool(settings: Any) -> None:
    assert engine_of("default") is engine_of("default")
    pooled = connection.settings_dict["OPTIONS"]
    connection.settings_dict["OPTIONS"] = {**pooled, "pool": False}
    connection._managed = None  # type: ignore[attr-defined]
    try:
        with pytest.raises(exceptions.ConfigurationError, match="has no managed pool"):
            engine_of("default", echo=False)
    finally:
        connection.settings_dict["OPTIONS"] = pooled


@pytest.fixture
def two_phased(make_postgres: Any, django_db_blocker: Any, settings: Any) -> Iterator[Any]:
    """An engine on the pool of an alias whose server has room for prepared transactions."""
    settings.POOLMGR = {**settings.POOLMGR, "AGENT": False}
    without_agent()
    url = urlsplit(str(make_postgres(max_prepared_transactions=5).create_database("twophase")))
    connections.settings["twophase"] = {
        **connections.settings["default"],
        "HOST": url.hostname,
        "PORT": url.port,
        "NAME": url.path.removeprefix("/"),
        "USER": url.username,
        "PASSWORD": url.password,
        "OPTIONS": {"pool": {"min_size": 0, "max_size": 1}},
    }
    with django_db_blocker.unblock():
        yield engine_of("twophase", echo=False)
        connections["twophase"].close()
    registry.close("twophase")
    del connections["twophase"]
    del connections.settings["twophase"]


@pytest.mark.long
def test_two_phase_transaction_is_prepared_and_committed_on_django_s_connection(
    two_phased: Any,
) -> None:  # P2
    with two_phased.begin() as conn:
        conn.execute(text("CREATE TABLE twice (name text)"))
    with two_phased.connect() as conn:
        for name in ("kept", "undone"):
            both = conn.begin_twophase()
            conn.execute(text("INSERT INTO twice VALUES (:name)"), {"name": name})
            both.prepare()
            both.commit() if name == "kept" else both.rollback()
    with two_phased.connect() as conn:
        assert conn.scalars(text("SELECT name FROM twice")).all() == ["kept"]
    pool = two_phased.pool.lender
    until(lambda: pool.snapshot().idle == 1)
    # Django finds it in autocommit, and nothing prepared.
    with connections["twophase"].cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_prepared_xacts")
        assert cursor.fetchone() == (0,)
        assert connections["twophase"].connection.autocommit


@pytest.mark.long
def test_transaction_that_was_prepared_and_left_is_nobody_else_s(two_phased: Any) -> None:  # P2
    raw = two_phased.raw_connection()
    first = raw.driver_connection.info.backend_pid
    raw.driver_connection.tpc_begin("left")
    raw.cursor().execute("CREATE TABLE left_open (name text)")
    raw.driver_connection.tpc_prepare()
    raw.close()
    with connections["twophase"].cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid(), to_regclass('left_open'), (SELECT gid FROM pg_prepared_xacts)")
        assert cursor.fetchone() == (ANY, None, ANY)
    connections["twophase"].close()
    with two_phased.connect() as conn:
        assert conn.scalar(text("SELECT pg_backend_pid()")) != first
        (xid,) = conn.recover_twophase()
        conn.rollback_prepared(xid, recover=True)
        assert conn.recover_twophase() == []
