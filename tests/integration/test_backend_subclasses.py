"""A site's own subclass of the backend that remembers what it has set on the connection until its ``close()``."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.db import connection, connections, transaction
from django.db.backends.signals import connection_created

import poolmgr
from poolmgr.exceptions import ReleaseError
from poolmgr.targets.postgresql.managed import ManagedPool
from tests.integration.backend import MODES, query
from tests.pools import give_back, hold
from tests.tenants import Tenants

Small = Callable[..., ManagedPool]
both = pytest.mark.parametrize("mode", MODES)

TENANTS = ("acme", "globex")


@pytest.fixture
def tenant(small_pool: Small, request: pytest.FixtureRequest) -> Iterator[Tenants]:
    """The default connection as a tenant's, on a pool of three; each tenant has a table that names it."""
    small_pool(request.getfixturevalue("mode"), max_size=3)
    for each in TENANTS:
        query(f"CREATE SCHEMA {each}")
        query(f"CREATE TABLE {each}.name AS SELECT '{each}' AS value")
    connection.close()
    usual = connections["default"]
    mine = Tenants(usual.settings_dict, "default")
    connections["default"] = mine
    mine.schema = "acme"
    yield mine
    mine.close()
    connections["default"] = usual
    for each in TENANTS:
        query(f"DROP SCHEMA {each} CASCADE")


def name() -> Any:
    return query("SELECT value FROM name")[0][0]


def churn() -> None:
    """Other tenants use every connection that is free."""
    other = Tenants(connections["default"].settings_dict, "default")
    other.schema = "globex"
    for _ in range(4):
        with other.cursor() as cursor:
            cursor.execute("SELECT value FROM name")
            assert cursor.fetchone() == ("globex",)
        other.close()


@both
def test_the_query_after_pinned_is_the_tenant_s(tenant: Tenants, mode: str) -> None:  # P2
    for _ in range(3):
        with poolmgr.pinned():
            assert name() == "acme"
        churn()
        assert name() == "acme"
        with connection.chunked_cursor() as cursor:
            cursor.execute("SELECT value FROM name")
            assert cursor.fetchall() == [("acme",)]


@both
def test_released_lets_go_of_what_the_subclass_sets_again(tenant: Tenants, mode: str) -> None:  # P2
    assert name() == "acme"
    with poolmgr.released():
        assert tenant.connection is None
        churn()
    assert name() == "acme"
    with poolmgr.unpooled():
        assert name() == "acme"
    assert name() == "acme"


@both
def test_released_keeps_what_the_borrower_has_set_beside_it(tenant: Tenants, mode: str) -> None:  # P2
    assert name() == "acme"
    query("SET work_mem = '7MB'")
    with pytest.raises(ReleaseError, match=r"would be lost \(SET\)"):
        poolmgr.released().__enter__()
    assert query("SHOW work_mem") == [("7MB",)]


@both
def test_what_the_subclass_sets_while_a_hook_queries_is_no_part_of_the_connection(
    tenant: Tenants, mode: str
) -> None:  # P2
    """Such as the site's receiver of ``connection_created`` that looks something up."""
    told: list[Any] = []

    def look_up(connection: Any, **kwargs: Any) -> None:
        with connection.cursor() as cursor:
            cursor.execute("SELECT value FROM name")
            told.append(cursor.fetchone()[0])

    connection_created.connect(look_up)
    try:
        for _ in range(3):
            assert name() == "acme"
            tenant.close()
            # Somebody who is no tenant sees what the settings made of the connection.
            held = hold(poolmgr.pool(), 3)
            paths = {conn.execute("SHOW search_path").fetchone() for conn in held}
            give_back(poolmgr.pool(), held)
            assert paths == {('"$user", public',)}
            churn()
    finally:
        connection_created.disconnect(look_up)
    assert set(told) == {"acme", "globex"}


@both
def test_a_subclass_hears_of_every_connection_that_is_taken_away(tenant: Tenants, mode: str) -> None:
    heard: list[int] = []

    class Listening(Tenants):
        def _cursor(self, name: str | None = None) -> Any:
            return super(Tenants, self)._cursor(name)

        def close(self) -> None:
            if self.connection is not None:
                heard.append(self.connection.info.backend_pid)
            super().close()

    connections["default"] = mine = Listening(tenant.settings_dict, "default")
    done: list[str] = []
    with transaction.atomic():
        transaction.on_commit(lambda: done.append("hook"))
        query()
    assert done == ["hook"]
    query()
    assert len(heard) == (0 if mode == "session" else 2)
    mine.close()
    assert len(heard) == (1 if mode == "session" else 2)
    assert mine.connection is None
