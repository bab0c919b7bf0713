"""A server that tests may break, a proxy before it, and pools behind the proxy."""

import json
import logging
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from poolsite.demo.servers import EmbeddedPostgres
from tests import servers as running
from tests.agents import without_agent
from tests.faults.borrowers import WAYS, Borrower
from tests.pools import backends
from tests.proxy import Proxy
from tests.sampling import with_all
from tests.waiting import until

MAX_CONNECTIONS = 25
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def victim() -> Iterator[EmbeddedPostgres]:
    """A server to restart, stop or fill. Leave it running."""
    directory = running.scratch_directory()
    server = running.new_postgres(
        directory / "victim", max_connections=MAX_CONNECTIONS, superuser_reserved_connections=3
    ).start()
    server.create_database("faults")
    yield server
    server.destroy()
    shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture
def server(victim: EmbeddedPostgres) -> Iterator[EmbeddedPostgres]:
    """The victim, running whatever the last test did to it, and nobody connected."""
    victim.start()
    yield victim
    if victim.running:
        with psycopg.connect(victim.superuser_url(), autocommit=True) as console:
            console.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'faults' AND backend_type = 'client backend'"
            )


@pytest.fixture
def proxy(server: EmbeddedPostgres) -> Iterator[Proxy]:
    proxy = Proxy(server.port)
    yield proxy
    proxy.close()


#: What statement mode has of its own is seldom what a fault meets, and Django's pools are the bare ones with more to go wrong.
LONG_WAYS = ("statement", "bare")


@pytest.fixture(params=[*(way for way in WAYS if way not in LONG_WAYS), *with_all(*LONG_WAYS)])
def borrow(
    request: pytest.FixtureRequest, server: EmbeddedPostgres, proxy: Proxy, settings: Any, django_db_blocker: Any
) -> Iterator[Callable[..., Borrower]]:
    """borrow(max_size=2, …): a pool behind the proxy, borrowed from in each of the four ways."""
    settings.POOLMGR = {**settings.POOLMGR, "AGENT": False}
    without_agent()
    made: list[Borrower] = []

    def make(**values: Any) -> Borrower:
        direct = server.superuser_url("faults")
        behind = server.url("faults").replace(f":{server.port}/", f":{proxy.port}/")
        values = {"max_size": 3, "connection_timeout": 1.5, **values}
        made.append(WAYS[request.param](values.pop("url", behind), direct, **values))
        return made[-1]

    with django_db_blocker.unblock():
        yield make
        proxy.thaw()
        for borrower in made:
            borrower.close()


@pytest.fixture(autouse=True)
def _no_secret_is_logged(caplog: pytest.LogCaptureFixture, request: pytest.FixtureRequest) -> Iterator[None]:  # P13
    caplog.set_level(logging.DEBUG)
    yield
    if "victim" in request.fixturenames:
        server = request.getfixturevalue("victim")
        secret = psycopg.conninfo.conninfo_to_dict(server.url())["password"]
        formatter = logging.Formatter()
        for when in ("setup", "call"):
            assert not [record for record in caplog.get_records(when) if secret in formatter.format(record)]


def program_environment(url: str, **pool: Any) -> dict[str, str]:
    """What the programs read; ``pool`` are the pool's settings."""
    settings = {"min_size": 0, "max_size": 4, "timeout": 10, **pool}
    return {**os.environ, "DATABASE_URL": url, "POOL": json.dumps(settings), "DJANGO_SETTINGS_MODULE": ""}


@pytest.fixture
def program(postgres: Any, tmp_path: Path) -> Any:
    """program("forks", "idle", pool_mode=…): what the program reported; afterwards it must have left no connection."""
    url = postgres.create_database("programs")

    def run(name: str, *arguments: str, timeout: float = 40, **pool: Any) -> dict[str, Any]:
        environment = {**program_environment(url, **pool), "TOLD": str(tmp_path / "told")}
        done = subprocess.run(
            # Python 3.12 and newer warn of a fork beside threads, which is what is under test here.
            [
                *(sys.executable, "-W", "error::ResourceWarning", "-W", "ignore::DeprecationWarning"),
                *("-m", f"tests.faults.programs.{name}", *arguments),
            ],
            env=environment, cwd=ROOT, capture_output=True, text=True, timeout=timeout,
        )  # fmt: skip
        assert done.returncode == 0, f"status {done.returncode}\n{done.stdout}\n{done.stderr}"
        until(lambda: not backends(url), "the program's connections to close")
        answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        assert "password" not in done.stderr.lower()
        return {**answer, "stderr": done.stderr}

    return run
