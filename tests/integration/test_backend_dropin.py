"""What code written for Django's native pool relies on, as Django's own tests and its users' libraries do."""

from collections.abc import Callable
from typing import Any, get_origin
from unittest import mock

import psycopg
import psycopg_pool
import pytest
from django.core.exceptions import ImproperlyConfigured
from django.db import OperationalError, connection, connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.signals import connection_created
from psycopg.rows import dict_row

from poolmgr.exceptions import PoolExhausted, ServerDown
from poolmgr.targets.postgresql.errors import TooManyWaiting
from poolmgr.targets.postgresql.managed import ManagedPool
from poolmgr.targets.postgresql.options import from_options
from tests.integration.backend import MODES, backend_pid, is_held, query, run_in_thread

Small = Callable[..., ManagedPool]
both = pytest.mark.parametrize("mode", MODES)


@both
def test_psycopg_pool_s_own_calls_borrow_and_give_back(small_pool: Small, mode: str) -> None:  # P1, P4
    pool = small_pool(mode)
    for _ in range(3):
        with connection.pool.connection() as conn:  # type: ignore[attr-defined]
            assert conn.execute("SELECT 1").fetchone() == (1,)
            assert pool.snapshot().used == 1
    conn = connection.pool.getconn(timeout=1)  # type: ignore[attr-defined]
    with pytest.raises(psycopg_pool.PoolTimeout):
        connection.pool.getconn(timeout=0.1)  # type: ignore[attr-defined]
    connection.pool.putconn(conn)  # type: ignore[attr-defined]
    assert pool.snapshot().used == 0
    query()


@both
def test_an_exhausted_pool_is_an_error_of_django_s_and_of_psycopg_pool_s(
    small_pool: Small, mode: str
) -> None:  # P1, P9
    small_pool(mode, connection_timeout=0.1)

    def transact() -> None:
        with transaction.atomic():
            query()

    # Looked up in the thread: there `connection` is another one.
    ways = (lambda: connection.connect(), lambda: connection.ensure_connection(), query, transact)
    with transaction.atomic():
        query()
        for way in ways:
            with pytest.raises(PoolExhausted, match="exhausted") as caught:
                run_in_thread(way)
            assert isinstance(caught.value, OperationalError)
            assert isinstance(caught.value, psycopg_pool.PoolTimeout)
    assert issubclass(TooManyWaiting, psycopg_pool.TooManyRequests)


@both
def test_connection_created_reaches_who_came_after_the_connection_once(small_pool: Small, mode: str) -> None:  # P1
    small_pool(mode)
    pid = backend_pid()
    connection.close()
    told: list[int] = []

    def receiver(connection: Any, **kwargs: Any) -> None:
        told.append(connection.connection.info.backend_pid)

    connection_created.connect(receiver)
    try:
        for _ in range(3):
            assert backend_pid() == pid
            connection.close()
    finally:
        connection_created.disconnect(receiver)
    assert told == [pid]


@both
def test_a_patched_ensure_connection_forbids_queries(small_pool: Small, mode: str) -> None:  # P1
    small_pool(mode)
    query()
    connection.close()
    forbid = mock.Mock(side_effect=AssertionError("no queries here"))
    with mock.patch.object(BaseDatabaseWrapper, "ensure_connection", forbid):
        with pytest.raises(AssertionError, match="no queries here"):
            query()
        with pytest.raises(AssertionError, match="no queries here"):
            run_in_thread(query)
    query()


def test_a_check_of_the_site_s_own_is_asked_at_every_checkout(small_pool: Small) -> None:  # P1
    checked: list[int] = []

    def check(conn: Any) -> None:
        checked.append(conn.info.backend_pid)
        if len(checked) == 2:
            raise OperationalError("not this one")

    spec, passed = from_options({"min_size": 0, "max_size": 1, "timeout": 3, "check": check})
    pool = ManagedPool("checked", spec, connection.get_connection_params, passed=passed)
    pool.open()
    try:
        pids = []
        for _ in range(3):
            with pool.connection() as conn:
                pids.append(conn.info.backend_pid)
        assert checked == [pids[0], pids[0], pids[1], pids[1]]
        assert pids[0] != pids[1] == pids[2]
    finally:
        pool.close()


def test_a_check_that_refuses_every_connection_makes_no_storm_of_connects(small_pool: Small) -> None:  # P1, P9
    def check(conn: Any) -> None:
        raise OperationalError("no primary")

    spec, passed = from_options({"min_size": 0, "max_size": 2, "check": check})
    pool = ManagedPool("refused", spec, connection.get_connection_params, passed=passed)
    pool.open()
    try:
        with pytest.raises(ServerDown, match=r"the check in OPTIONS\['pool'\] refuses the connections"):
            pool.checkout(timeout=1.0)
        assert pool.snapshot().created <= 6
    finally:
        pool.close()


class TracedConnection(psycopg.Connection[Any]):
    """As a tracing library has it."""

    def cursor(self, *args: Any, **kwargs: Any) -> Any:
        self.traced = True
        return super().cursor(*args, **kwargs)


@pytest.mark.parametrize("given", [TracedConnection, psycopg.Connection, psycopg.Connection[Any]])
def test_a_connection_class_of_the_site_s_own_is_used(small_pool: Small, given: Any) -> None:  # P1, P2
    spec, passed = from_options({"min_size": 0, "max_size": 1, "timeout": 3, "connection_class": given})
    pool = ManagedPool("classed", spec, connection.get_connection_params, passed=passed)
    pool.open()
    try:
        with pool.connection() as conn:
            assert isinstance(conn, get_origin(given) or given)
            conn.execute("SET statement_timeout = 54321")
            conn.row_factory = dict_row
        with pool.connection() as again:
            assert again is conn
            # No cursor of ours has looked at the first statement, but the attribute was seen.
            assert again.execute("SHOW statement_timeout").fetchone() == ("0",)
        assert getattr(conn, "traced", False) == (given is TracedConnection)
    finally:
        pool.close()


def test_conn_max_age_beside_a_pool_is_refused(small_pool: Small) -> None:  # P1
    other = connections["default"].copy(alias="persistent")
    other.settings_dict["OPTIONS"] |= {"pool": True}
    other.settings_dict["CONN_MAX_AGE"] = 60
    with pytest.raises(ImproperlyConfigured, match="persistent connections"):
        other.ensure_connection()


@both
def test_the_end_of_a_request_leaves_an_open_transaction_alone(small_pool: Small, mode: str) -> None:  # P1
    small_pool(mode)
    with transaction.atomic():
        query()
        connection.close_if_unusable_or_obsolete()
        query()
        assert is_held()
    connection.close_if_unusable_or_obsolete()
    assert not is_held()
