"""Test databases are made, cloned and dropped while several aliases lead to them."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.sampling import with_all


@pytest.mark.long
@pytest.mark.parametrize(
    ("mode", "kind"),
    [("session", "mirror"), ("transaction", "same"), *with_all(("session", "same"), ("transaction", "mirror"))],
)
def test_a_test_run_on_two_aliases_of_one_database_leaves_nothing(postgres: Any, kind: str, mode: str) -> None:  # P1
    environment = {**os.environ, "DATABASE_URL": postgres.create_database("mirrored")}
    done = subprocess.run(
        [sys.executable, "-m", "tests.integration.mirrored_process", kind, mode],
        env=environment, cwd=Path(__file__).parents[2], capture_output=True, text=True, timeout=90,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["before"] == ["mirrored"] * 2
    assert told["during"] == ["test_mirrored"] * 2
    assert told["after"] == "mirrored"
    with psycopg.connect(postgres.superuser_url(), autocommit=True) as console:
        left = console.execute("SELECT datname FROM pg_database WHERE datname LIKE 'test\\_mirrored%'").fetchall()
    assert left == []
