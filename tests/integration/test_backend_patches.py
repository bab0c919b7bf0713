"""What others put before Django's methods is asked and told, although the backend has shorter ways past them."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import wraps
from pathlib import Path
from threading import get_ident
from typing import Any
from unittest import mock

import psycopg
import pytest
from django.core.exceptions import SynchronousOnlyOperation
from django.db import ProgrammingError, connection, connections, transaction
from django.db.backends import utils
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.postgresql import base as native
from django.db.backends.signals import connection_created

from poolmgr.backends.postgresql.base import DatabaseWrapper
from poolmgr.pools import registry
from poolmgr.targets.postgresql.managed import ManagedPool
from tests.integration.backend import MODES, backend_pid, is_held, query
from tests.sampling import first_always

Small = Callable[..., ManagedPool]
both = pytest.mark.parametrize("mode", MODES)


@pytest.fixture
def watch(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    """watch("connect"): this thread's calls of Django's methods from now on, as a tracer patches them."""
    calls: list[str] = []
    mine = get_ident()

    def patch(*names: str, of: Any = BaseDatabaseWrapper) -> list[str]:
        for name in names:
            monkeypatch.setattr(of, name, traced(name, getattr(of, name)))
        return calls

    def traced(name: str, real: Any) -> Any:
        @wraps(real)
        def call(*args: Any, **kwargs: Any) -> Any:
            if get_ident() == mine:  # the agent has turns of its own
                calls.append(name)
            return real(*args, **kwargs)

        return call

    return patch


@pytest.fixture
def created() -> Iterator[list[int]]:
    told: list[int] = []

    def receiver(connection: Any, **kwargs: Any) -> None:
        told.append(connection.connection.info.backend_pid)

    connection_created.connect(receiver)
    yield told
    connection_created.disconnect(receiver)


# -- guards -----------------------------------------------------------------------------------------------------------


@both
def test_pytest_django_s_guard_forbids_queries_also_on_a_connection_that_is_held(  # P1
    small_pool: Small, mode: str, django_db_blocker: Any
) -> None:
    small_pool(mode)
    query()
    with transaction.atomic():
        pid = backend_pid()
        with django_db_blocker.block():
            for attempt in (query, lambda: connection.chunked_cursor(), lambda: transaction.savepoint()):
                with pytest.raises(RuntimeError, match="Database access not allowed"):
                    attempt()
        assert backend_pid() == pid
    query()
    with django_db_blocker.block(), pytest.raises(RuntimeError, match="Database access not allowed"):
        query()
    query()


def test_a_guard_keeps_a_pool_from_being_made(small_pool: Small, django_db_blocker: Any) -> None:  # P1
    small_pool("session")
    registry.close("default")
    with django_db_blocker.block():
        for attempt in (lambda: transaction.atomic().__enter__(), lambda: transaction.set_autocommit(False), query):
            with pytest.raises(RuntimeError, match="Database access not allowed"):
                attempt()
        assert registry.get("default") is None
    query()


@pytest.mark.long
def test_a_guard_that_was_there_before_the_backend_is_not_taken_for_django_s_own(postgres: Any) -> None:  # P1
    """pytest-django's blocks first, and the backend is imported when a test asks for its first connection."""
    environment = {
        **os.environ, "DATABASE_URL": postgres.create_database("guarded"), "DJANGO_SETTINGS_MODULE": "",
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-m", "tests.integration.guarded_process"],
        env=environment, cwd=Path(__file__).parents[2], capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == ["forbidden", "queried", "forbidden", "queried"]


@both
@pytest.mark.parametrize("name", ["connect", "ensure_connection", "cursor"])
def test_what_is_put_on_one_connection_alone_is_asked_too(small_pool: Small, mode: str, name: str) -> None:  # P1
    """As Django's SimpleTestCase forbids queries to a database that the test did not name."""
    small_pool(mode)
    query()
    connection.close()
    forbid = mock.Mock(side_effect=AssertionError("not in this test"))
    setattr(connection, name, forbid)
    try:
        with pytest.raises(AssertionError, match="not in this test"):
            query()
    finally:
        delattr(connection, name)
    assert not is_held()
    query()


@pytest.mark.parametrize("name", ["connect", "ensure_connection", "cursor", "create_cursor", "close"])
def test_a_running_event_loop_is_refused_as_ever(small_pool: Small, name: str) -> None:  # P1
    small_pool("session")
    query()  # session mode holds a connection from here on
    wrapper = connections["default"]

    async def in_task() -> None:
        with pytest.raises(SynchronousOnlyOperation):
            getattr(wrapper, name)()

    asyncio.run(in_task())


# -- tracers ----------------------------------------------------------------------------------------------------------


@both
def test_what_makes_cursors_may_be_traced_at_any_time(  # P1
    small_pool: Small, mode: str, watch: Callable[..., list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    small_pool(mode)
    query()
    calls = watch("create_cursor", "make_cursor", of=native.DatabaseWrapper)
    query()
    monkeypatch.setattr(BaseDatabaseWrapper, "queries_logged", property(lambda self: calls.append("asked")))
    query()
    assert calls == ["create_cursor", "make_cursor", "create_cursor", "asked", "make_cursor"]


@both
@pytest.mark.parametrize("name", ["fetchone", "fetchmany", "fetchall", "close"])
def test_fetches_may_be_traced_at_any_time(  # P1
    small_pool: Small, mode: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_pool(mode)

    def traced(self: utils.CursorWrapper) -> Any:
        calls.append(name)
        return getattr(self.cursor, name)()

    calls: list[str] = []
    for expected in ([], [name], []):
        calls.clear()
        with monkeypatch.context() as patched:
            if expected:
                patched.setattr(utils.CursorWrapper, name, traced, raising=False)
            with connection.cursor() as cursor:
                cursor.execute("SELECT 1")
                if name != "close":
                    getattr(cursor, name)()
        assert calls == expected


@both
def test_another_class_of_cursors_in_the_place_of_django_s_is_used(  # P1
    small_pool: Small, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Traced(utils.CursorWrapper):
        pass

    small_pool(mode)
    query()
    monkeypatch.setattr(utils, "CursorWrapper", Traced)
    with connection.cursor() as cursor:
        assert type(cursor) is Traced


@both
@pytest.mark.parametrize("name", ["fetchone", "fetchmany", "fetchall"])
def test_a_fetch_that_fails_raises_django_s_error(small_pool: Small, mode: str, name: str) -> None:  # P1
    small_pool(mode)
    with connection.cursor() as cursor:
        cursor.execute("VALUES (1), (2), (3)")
        assert cursor.fetchmany(2) == [(1,), (2,)]
        cursor.execute("CREATE TABLE IF NOT EXISTS nothing_to_fetch ()")
        with pytest.raises(ProgrammingError) as caught:
            getattr(cursor, name)()
    assert isinstance(caught.value.__cause__, psycopg.ProgrammingError)


@both
def test_statements_are_logged_as_soon_as_debug_says_so(small_pool: Small, mode: str, settings: Any) -> None:  # P1
    small_pool(mode)
    for debug in (False, True, False):
        settings.DEBUG = debug
        connection.queries_log.clear()
        query()
        assert bool(connection.queries) is debug


@both
def test_a_tracer_sees_each_connection_s_connect_once(  # P1
    small_pool: Small, mode: str, watch: Callable[..., list[str]], created: list[int]
) -> None:
    small_pool(mode, max_size=2)
    first = backend_pid()
    connection.close()
    calls = watch("connect")
    for _ in range(3):
        assert backend_pid() == first  # it was there before the tracer
        connection.close()
    assert calls == ["connect"]
    with registry.get("default").connection():  # type: ignore[union-attr]
        for _ in range(3):
            assert backend_pid() != first
            connection.close()
    assert calls == ["connect", "connect"]
    # The tracer came late to the first, of which Django is told again.
    assert len(created) == 3


@pytest.mark.long
@pytest.mark.parametrize("mode", first_always(*reversed(MODES)))
def test_sentry_s_spans_are_those_of_a_connection_without_a_pool(postgres: Any, mode: str) -> None:  # P1
    """But for the second request's connect, whose connection is there already."""
    environment = {
        **os.environ,
        "DATABASE_URL": postgres.create_database(f"traced_{mode}"),
        # One connection: another that the pool has opened ahead would be connected to Django at its first use.
        "POOL": json.dumps({"pool_mode": mode, "min_size": 0, "max_size": 1}),
    }
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "tests.integration.traced_process"],
        env=environment, cwd=Path(__file__).parents[2], capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    statements = ["SELECT 1", "SELECT 2", "SELECT 3", "COMMIT"]
    assert json.loads(done.stdout) == [["connect", *statements], statements]


@both
def test_a_guard_before_connect_forbids_also_a_connection_that_is_there(small_pool: Small, mode: str) -> None:  # P1
    pool = small_pool(mode)
    query()
    connection.close()
    forbid = mock.Mock(side_effect=AssertionError("no connects here"))
    with mock.patch.object(BaseDatabaseWrapper, "connect", forbid):
        for _ in range(3):
            with pytest.raises(AssertionError, match="no connects here"):
                query()
        assert pool.snapshot().used == 0
    query()


@both
def test_a_tracer_sees_every_cursor_and_every_close(
    small_pool: Small, mode: str, watch: Callable[..., list[str]]
) -> None:  # P1
    small_pool(mode)
    calls = watch("cursor", "_cursor", "ensure_connection", "close")
    query()
    query()
    each = ["cursor", "_cursor", "ensure_connection"]
    # In transaction mode the connection goes back after each statement.
    expected = [*each, *each] if mode == "session" else [*each, "close", *each, "close"]
    assert [call for call in calls if call in expected] == expected
    query()
    connection.close()
    assert calls[-1] == "close"
    watch("close_if_unusable_or_obsolete")
    query()
    connection.close_if_unusable_or_obsolete()
    assert "close_if_unusable_or_obsolete" in calls
    assert not is_held()


@both
def test_a_subclass_that_prepares_new_connections_is_called_once_for_each(small_pool: Small, mode: str) -> None:  # P1
    small_pool(mode)
    prepared: list[int] = []

    class Preparing(DatabaseWrapper):
        def get_new_connection(self, conn_params: Any) -> Any:
            conn = super().get_new_connection(conn_params)
            prepared.append(conn.info.backend_pid)
            return conn

    registry.close("default")
    usual = connections["default"]
    connections["default"] = mine = Preparing(usual.settings_dict, "default")
    try:
        pids = set()
        for _ in range(3):
            pids.add(backend_pid())
            mine.close()
        assert prepared == list(pids)
    finally:
        connections["default"] = usual


@both
def test_what_is_put_before_ensure_connection_may_call_the_method_found_before(  # P1
    small_pool: Small, mode: str
) -> None:
    small_pool(mode)
    connection.close()
    real, calls = connection.ensure_connection, []

    def first_query() -> None:
        calls.append(connection.connection is None)
        real()
        if calls[-1]:
            query("SELECT 1")

    with mock.patch.object(BaseDatabaseWrapper, "ensure_connection", side_effect=first_query):
        query("SELECT 2")
    assert calls[0]
    query("SELECT 3")


def test_connection_max_age_set_after_the_pool_was_made_is_heeded(  # P1
    small_pool: Small, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_pool("session")
    connection.close()
    # A physical connection that Django's own connect() has met while CONN_MAX_AGE was 0.
    query()
    monkeypatch.setitem(connection.settings_dict, "CONN_MAX_AGE", None)
    monkeypatch.setitem(connection.settings_dict["OPTIONS"], "pool", True)
    pid = backend_pid()
    assert is_held()
    connection.close_if_unusable_or_obsolete()
    assert is_held()
    assert backend_pid() == pid
    monkeypatch.undo()
    connection.close()
