"""A ledger whose server crashes: what a process was told that it may hold is not forgotten."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable

import psycopg
import pytest

from poolsite.demo.servers import EmbeddedPostgres

CLAIM = """
import django; django.setup()
from datetime import timedelta
from poolmgr.control.sharing.ledger import RowLedger
from poolmgr.control.sharing.share import Claim
answer = RowLedger(timedelta(seconds=20)).claim("holder", 0, {"work": Claim(0, 0, 5, 5, 8)})
print(answer.limits["work"])
"""


@pytest.mark.long
def test_what_was_granted_is_known_after_a_crash_of_a_server_that_commits_without_waiting(  # P6
    make_postgres: Callable[..., EmbeddedPostgres],
) -> None:
    server = make_postgres(synchronous_commit="off", wal_writer_delay="10s")
    environment = {**os.environ, "DJANGO_SETTINGS_MODULE": "tests.faults.programs.sharing_settings", "POOLMGR": "{}"}
    environment["CONTROL_URL"] = environment["WORK_URL"] = server.create_database("control")

    def run(*arguments: str) -> str:
        command = [sys.executable, *arguments]
        return subprocess.run(command, env=environment, check=True, timeout=60, capture_output=True, text=True).stdout

    run("-m", "django", "migrate", "poolmgr", "-v0")
    with psycopg.connect(server.superuser_url(), autocommit=True) as connection:
        connection.execute("CHECKPOINT")
    assert run("-c", CLAIM).strip() == "5"
    server.restart("immediate")
    with psycopg.connect(server.url("control")) as connection:
        assert connection.execute("SELECT uid FROM poolmgr_lease").fetchall() == [("holder",)]
