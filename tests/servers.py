"""The real servers that one test process uses: started at the first question, stopped when its tests are over.

Tests that run side by side are in worker processes, each of which has servers of its own.
"""

import shutil
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from poolsite.demo.servers import EmbeddedPostgres, EmbeddedRedis

from .workers import mark_run

# Nobody pulls the plug of this machine for a test: what a killed server had written, the kernel still has.
FAST = {"fsync": "off", "full_page_writes": "off", "shared_buffers": "64MB"}


@dataclass(frozen=True)
class Servers:
    directory: Path
    postgres: EmbeddedPostgres
    redis: EmbeddedRedis


@cache
def servers() -> Servers:
    mark_run()
    directory = scratch_directory()
    postgres = EmbeddedPostgres(directory / "postgres", settings={**FAST, "max_connections": 100}).start()
    redis = EmbeddedRedis(directory / "redis").start()
    return Servers(directory, postgres, redis)


def stop_servers() -> None:
    if servers.cache_info().currsize:
        running = servers()
        running.redis.stop()
        running.postgres.destroy()
        shutil.rmtree(running.directory, ignore_errors=True)
        servers.cache_clear()


def scratch_directory() -> Path:
    """A new directory that the server's account may pass through, also when the tests run as root."""
    directory = Path(tempfile.mkdtemp(prefix="poolmgr-tests-"))
    directory.chmod(0o711)
    return directory
