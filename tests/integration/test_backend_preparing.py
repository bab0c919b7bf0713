"""A new connection is prepared: what Django and the site's hooks ask for meanwhile, and what they are given."""

import threading
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest
from django.db import connection, connections, transaction

import poolmgr
from poolmgr.backends.postgresql.base import DatabaseWrapper
from poolmgr.exceptions import AuthenticationFailed, CheckoutError, ServerDown
from poolmgr.pools import registry
from poolmgr.targets.postgresql.managed import ManagedPool
from tests.integration.backend import MODES, backend_pid, query, run_in_thread

Small = Callable[..., ManagedPool]
both = pytest.mark.parametrize("mode", MODES)


@pytest.fixture
def wrap(small_pool: Small) -> Iterator[Callable[..., Any]]:
    """wrap(cls, mode, assume_role=…): the default connection as one of `cls`, on a new pool of one."""
    usual = connections["default"]
    options = usual.settings_dict["OPTIONS"]
    before = dict(options)

    def make(cls: type[DatabaseWrapper], mode: str, timeout: float = 3.0, **more: Any) -> Any:
        registry.close("default")
        options.update(more)
        connections["default"] = mine = cls(usual.settings_dict, "default")
        small_pool(mode, connection_timeout=timeout)
        return mine

    yield make
    connections["default"].close()
    registry.close("default")
    options.clear()
    options.update(before)
    connections["default"] = usual


@pytest.fixture
def role(postgres: Any, transactional_db: None) -> Iterator[str]:
    """A role that owns things, which this user may take."""
    user = connection.settings_dict["USER"]
    with psycopg.connect(postgres.superuser_url(), autocommit=True) as console:
        console.execute(f"CREATE ROLE landlord NOLOGIN; GRANT landlord TO {user}; CREATE ROLE stranger NOLOGIN")
    yield "landlord"
    with psycopg.connect(postgres.superuser_url(), autocommit=True) as console:
        console.execute("DROP ROLE landlord, stranger")


@both
def test_assume_role_is_in_force_on_new_and_on_cleaned_connections(  # P1 P2
    wrap: Callable[..., Any], role: str, mode: str
) -> None:
    wrap(DatabaseWrapper, mode, assume_role=role)
    assert query("SELECT current_user") == [(role,)]
    query("RESET ROLE")
    query("SET work_mem = '7MB'")
    pid = backend_pid()
    connection.close()
    assert backend_pid() == pid
    assert query("SELECT current_user, current_setting('work_mem') = '7MB'") == [(role, False)]
    connection.close()
    with poolmgr.unpooled():
        assert query("SELECT current_user") == [(role,)]


@pytest.mark.parametrize(
    ("named", "words"),
    [("nobody_knows", "role that assume_role names does not exist"), ("stranger", "may not take the role")],
)
def test_a_role_that_can_t_be_assumed_is_named_at_once(  # P9
    wrap: Callable[..., Any], role: str, named: str, words: str
) -> None:
    wrap(DatabaseWrapper, "session", assume_role=named)
    with pytest.raises(AuthenticationFailed, match=words):
        query()


class Asking(DatabaseWrapper):
    """Asks in each way that it can for a connection while one is prepared."""

    answers: list[Any]

    def _configure_connection(self, conn: Any) -> bool:
        def ask(wrapper: Any) -> int:
            with wrapper.cursor() as cursor:
                cursor.execute("SELECT pg_backend_pid()")
                return int(cursor.fetchone()[0])

        asked = {ask(self)}
        with self.temporary_connection() as cursor:
            cursor.execute("SELECT pg_backend_pid()")
            asked.add(cursor.fetchone()[0])
        self.ensure_connection()
        asked.add(ask(self))
        other = connections["default"]  # the pool's thread has one of its own
        with transaction.atomic():
            asked.add(ask(other))
        other.close()
        asked.add(ask(other))
        type(self).answers.append(asked == {conn.info.backend_pid})
        return bool(super()._configure_connection(conn))


@both
def test_whatever_prepares_a_connection_is_given_that_one(wrap: Callable[..., Any], mode: str) -> None:  # P3 P8
    Asking.answers = []
    wrap(Asking, mode)
    pid = backend_pid()
    query("SET work_mem = '7MB'")
    connection.close()
    assert backend_pid() == pid
    assert Asking.answers == [True, True]  # new, and cleaned
    pool = poolmgr.pool()
    connection.close()
    assert (pool.snapshot().used, pool.snapshot().created) == (0, 1)


class Greedy(DatabaseWrapper):
    def _configure_connection(self, conn: Any) -> bool:
        with registry.get("default").connection():  # type: ignore[union-attr]
            return bool(super()._configure_connection(conn))


def test_who_asks_the_pool_itself_for_a_second_one_is_told_so(wrap: Callable[..., Any]) -> None:  # P8 P9
    wrap(Greedy, "session", timeout=1.0)
    with pytest.raises(CheckoutError, match="asks its pool for another, which it would wait for in vain"):
        query()


class Slow(DatabaseWrapper):
    go = threading.Event()

    def _configure_connection(self, conn: Any) -> bool:
        self.go.wait(20)
        return bool(super()._configure_connection(conn))


def test_a_preparation_that_does_not_end_is_not_called_a_silent_server(wrap: Callable[..., Any]) -> None:  # P9
    Slow.go.clear()
    wrap(Slow, "session", timeout=0.4)
    try:
        with pytest.raises(
            ServerDown, match=r"what prepares a new connection \(.*\) has not come to its end"
        ) as caught:
            query()
        assert "does not answer" not in str(caught.value)
    finally:
        Slow.go.set()
    assert run_in_thread(lambda: query("SELECT 5")) == [(5,)]
