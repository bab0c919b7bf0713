"""Tests side by side, as scripts/test runs them (-p tests.workers -n auto): who is who, and who has servers.

Each worker has servers of its own; the process that hands out the tests has none. This module is loaded before Django's
settings are, so that it imports nothing of the project.
"""

import os
import uuid
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling

# Every process that descends from this run carries the mark, also one that left our process tree.
RUN_MARK = "POOLMGR_TEST_RUN"
# Whose servers the addresses in the environment are: a worker's, or those of a run without workers.
SERVERS_OF = "POOLMGR_TEST_SERVERS_OF"
WORKER = "PYTEST_XDIST_WORKER"
ALONE = "alone"

# For the process that hands out the tests: addresses at which nobody answers.
NO_SERVERS = {
    SERVERS_OF: ALONE,
    "DATABASE_URL": "postgresql://nobody@127.0.0.1:1/none",
    "REDIS_URL": "",
    "SECRET_KEY": "runs-no-tests-runs-no-tests-runs-no-tests-runs-no-tests",
}

# The tests wait more than they work, but for the long ones.
WORKERS_PER_CORE, WITH_ALL = 3, 2
# Their servers take memory.
MOST_WORKERS = 16


def worker() -> str:
    return os.environ.get(WORKER, ALONE)


def mark_run() -> None:
    os.environ.setdefault(RUN_MARK, uuid.uuid4().hex)


def has_addresses() -> bool:
    """A process that a test started finds its addresses in the environment, and must not start servers of its own."""
    return os.environ.get(SERVERS_OF) == worker()


def belongs_here(environment: Mapping[str, str]) -> bool:
    """Does a process with this environment descend from this worker, or from this run if it isn't one?"""
    mark = os.environ.get(RUN_MARK)
    return mark is not None and environment.get(RUN_MARK) == mark and worker() in (ALONE, environment.get(WORKER))


# A wrapper comes before pytest-django, which imports the settings, which start the servers.
@pytest.hookimpl(wrapper=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> Iterator[None]:
    options = early_config.known_args_namespace
    if options.numprocesses and not options.usepdb and worker() == ALONE:
        mark_run()
        os.environ.update(NO_SERVERS)
    return (yield)


@pytest.hookimpl(tryfirst=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int | None:
    if "PYTEST_XDIST_AUTO_NUM_WORKERS" in os.environ:
        return None
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min((WITH_ALL if config.getoption("all", default=False) else WORKERS_PER_CORE) * cores, MOST_WORKERS)


# -- who gets which tests ----------------------------------------------------------------------------------------------


class Together(LoadScopeScheduling):
    """Each test goes to whoever is free, but for those that the ini option `together` names.

    xdist's own groups are a part of a test's id, which the newest pytest lets nobody change.
    """

    def _split_scope(self, nodeid: str) -> str:
        path = nodeid.partition("::")[0]
        named: list[str] = self.config.getini("together")
        return next((each for each in named if path == each or path.startswith(f"{each}/")), nodeid)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Together:
    return Together(config, log)
