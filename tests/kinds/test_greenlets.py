"""Greenlets of gevent and of eventlet as borrowers, whatever the kind."""

import json
import os
import subprocess
import sys
from typing import Any

import pytest

from poolsite.demo.servers import EmbeddedPostgres, EmbeddedRedis
from tests.kinds.subjects import DATABASE
from tests.sampling import first_always


def run(library: str, kind: str, url: str) -> dict[str, Any]:
    """What the program tells."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.kinds.greenlets", library, kind, url],
        env={**os.environ, "DJANGO_SETTINGS_MODULE": ""},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    assert "housekeeping failed" not in done.stderr
    return dict(json.loads(done.stdout.splitlines()[-1]))


@pytest.mark.long
@pytest.mark.parametrize(
    ("library", "kind"),
    first_always(
        ("gevent", "redis"),
        ("eventlet", "redis"),
        ("gevent", "sqlalchemy"),
        ("eventlet", "sqlalchemy"),
        ("gevent", "postgresql"),
        ("eventlet", "postgresql"),
    ),
)
def test_greenlets_share_a_small_pool_and_those_that_end_give_back(  # P3 P4
    postgres: EmbeddedPostgres, redis_server: EmbeddedRedis, library: str, kind: str
) -> None:
    url = redis_server.url(DATABASE) if kind == "redis" else str(postgres.create_database("kinds"))
    told = run(library, kind, url)
    assert told["ends"] <= 2
    assert told["full"] == [2, 5, True]
    assert (told["gave_up"], told["pending"]) == (["timeout"] * 2, 0)
    for each in ("quiet", "quiet_after_kill", "quiet_after_races", "quiet_after_the_end"):
        assert told[each] < 5, each
    assert (told["works"], told["used"]) == (True, 0)
    assert told["left"] <= 2
