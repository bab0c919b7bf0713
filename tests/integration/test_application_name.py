"""The server's own views lead back to the process: each connection bears its name, unless the site gives another."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.db import connection, connections

import poolmgr
from poolmgr.control.reporting.health import check_target
from poolmgr.identity import application_name
from poolmgr.pools import registry
from poolmgr.pools.lane import console_lane
from poolmgr.targets.postgresql.managed import ManagedPool
from tests.integration.backend import backend_pid, query

SHOW = "SELECT current_setting('application_name')"
ALIAS = "named"


def test_pooled_and_direct_connections_bear_the_processs_name(small_pool: Callable[..., ManagedPool]) -> None:
    small_pool("transaction")
    assert query(SHOW) == [(application_name(),)]
    pooled = backend_pid()
    with poolmgr.unpooled():
        assert query(SHOW) == [(application_name(),)]
        assert backend_pid() != pooled
    registry.close("default")
    with console_lane():
        assert query(SHOW) == [(application_name(),)]
        connection.close()


def test_what_a_borrower_calls_itself_ends_with_the_borrower(small_pool: Callable[..., ManagedPool]) -> None:  # P2
    small_pool("session")
    query("SET application_name = 'nightly report'")
    pid = backend_pid()
    connection.close()
    assert query(SHOW) == [(application_name(),)]
    assert backend_pid() == pid


@pytest.fixture
def named(db: None, django_db_blocker: Any) -> Iterator[Callable[..., str]]:
    """named(options, pool): the name that a pooled connection to the test's database has with these OPTIONS."""

    def name(options: dict[str, Any], pool: dict[str, Any] | None = None) -> str:
        database = connections.settings["default"]
        connections.settings[ALIAS] = {**database, "OPTIONS": {**options, "pool": {"max_size": 1, **(pool or {})}}}
        try:
            with connections[ALIAS].cursor() as cursor:
                cursor.execute(SHOW)
                return str(cursor.fetchone()[0])
        finally:
            connections[ALIAS].close()
            registry.close(ALIAS)
            del connections[ALIAS]
            del connections.settings[ALIAS]

    with django_db_blocker.unblock():
        yield name


def test_a_name_of_the_site_s_own_stays(
    named: Callable[..., str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:  # P1
    assert named({}) == application_name()
    assert named({"application_name": "shop"}) == "shop"
    assert named({"fallback_application_name": "shop"}) == "shop"
    assert named({}, {"conninfo": "application_name=shop"}) == "shop"
    (tmp_path / "services").write_text("[shop]\napplication_name=shop of the service\n")
    monkeypatch.setenv("PGSERVICEFILE", str(tmp_path / "services"))
    assert named({"service": "shop"}) == "shop of the service"
    monkeypatch.setenv("PGAPPNAME", "shop of the environment")
    assert named({}) == "shop of the environment"


def test_health_checks_bear_the_name_too(transactional_db: None) -> None:
    check = check_target("default", 5, f"SELECT 1 / (({SHOW[7:]} = '{application_name()}')::int)")
    assert check.state == "ok", check.message
