"""What a health check calls the server: its product and version, whatever the kind that reaches it."""

import re
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine
from sqlalchemy.dialects.mysql.pymysql import MySQLDialect_pymysql

from poolmgr.control.reporting.probe import Probe
from poolmgr.targets.sqlalchemy.products import version_of
from tests.agents import without_agent


@pytest.fixture
def declare(settings: Any) -> Any:
    without_agent()

    def one(kind: str, url: str) -> str:
        declared = {"shown": {"KIND": kind, "URL": url, "POOL": {}}}
        settings.POOLMGR = {**settings.POOLMGR, "AGENT": False, "TARGETS": declared}
        return "shown"

    return one


def test_a_redis_server(declare: Any, redis_server: Any) -> None:
    seen = Probe(declare("redis", redis_server.url()), 5.0, lambda: "PING").result(())
    assert re.fullmatch(r"(Redis|Valkey) \d+\.\d+\.\d+", seen.server_version)


def test_a_server_that_sqlalchemy_reaches(declare: Any, postgres: Any, tmp_path: Path) -> None:
    url = str(postgres.create_database("kinds")).replace("postgresql://", "postgresql+psycopg://")
    assert (
        Probe(declare("sqlalchemy", url), 5.0, lambda: "SELECT 1")
        .result(())
        .server_version.startswith("PostgreSQL 18.")
    )
    seen = Probe(declare("sqlalchemy", f"sqlite:///{tmp_path}/one"), 5.0, lambda: "SELECT 1").result(())
    assert re.fullmatch(r"SQLite \d+(\.\d+)+", seen.server_version)


def test_one_that_has_not_told_is_called_by_its_product_alone() -> None:
    assert version_of(create_engine("sqlite://").dialect) == "SQLite"
    dialect: Any = MySQLDialect_pymysql(is_mariadb=True)
    assert version_of(dialect) == "MariaDB"
