"""The real servers that one test process uses: started at the first question, stopped when its tests are over.

Tests that run side by side are in worker processes, each of which has servers of its own. All servers of a run begin with
the same data, which initdb made once: it takes longer than many a test.
"""

import fcntl
import os
import shutil
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from poolsite.demo.account import provide
from poolsite.demo.servers import EmbeddedPostgres, EmbeddedRedis

from .workers import ALONE, RUN_MARK, mark_run, worker

# Nobody pulls the plug of this machine for a test: what a killed server had written, the kernel still has.
# And hashing slowly is the point of a password, not of a test that connects: each connect does it anew.
FAST = {"fsync": "off", "full_page_writes": "off", "shared_buffers": "64MB", "scram_iterations": 1}


@dataclass(frozen=True)
class Servers:
    directory: Path
    postgres: EmbeddedPostgres
    redis: EmbeddedRedis


@cache
def servers() -> Servers:
    mark_run()
    directory = scratch_directory()
    postgres = new_postgres(directory / "postgres", max_connections=100).start()
    redis = EmbeddedRedis(directory / "redis").start()
    return Servers(directory, postgres, redis)


def stop_servers() -> None:
    if servers.cache_info().currsize:
        running = servers()
        running.redis.stop()
        running.postgres.destroy()
        shutil.rmtree(running.directory, ignore_errors=True)
        servers.cache_clear()


def new_postgres(data_dir: Path, **settings: object) -> EmbeddedPostgres:
    """A server to start, with the run's data to begin with."""
    return EmbeddedPostgres(data_dir, settings={**FAST, **settings}, template=_template())


@cache
def _template() -> EmbeddedPostgres:
    """The server that made the run's data, stopped; the first who asks starts it, and the others wait."""
    directory = _run_directory()
    provide(directory)
    with (directory / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        template = EmbeddedPostgres(directory / "postgres", settings=FAST)
        if not template.data_dir.exists():
            try:
                with template:
                    _hash_quickly(template)
            except BaseException:
                # Half of it is no beginning for the others.
                template.destroy()
                raise
    return template


def _hash_quickly(server: EmbeddedPostgres) -> None:
    """initdb has hashed the superuser's password, and knows no settings."""
    with psycopg.connect(server.superuser_url()) as connection:
        got = conninfo_to_dict(server.superuser_url())
        statement = sql.SQL("ALTER ROLE {} PASSWORD {}")
        connection.execute(statement.format(sql.Identifier(str(got["user"])), sql.Literal(got["password"])))


def _run_directory() -> Path:
    mark_run()
    return Path(tempfile.gettempdir()) / f"poolmgr-tests-of-{os.environ[RUN_MARK]}"


def remove_template() -> None:
    """For the end of the run, when no worker is left."""
    if worker() == ALONE and _run_directory().exists():
        _template().destroy()
        shutil.rmtree(_run_directory(), ignore_errors=True)


def scratch_directory() -> Path:
    """A new directory that the server's account may pass through, also when the tests run as root."""
    directory = Path(tempfile.mkdtemp(prefix="poolmgr-tests-"))
    directory.chmod(0o711)
    return directory
