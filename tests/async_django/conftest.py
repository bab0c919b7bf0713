"""A database alias on the backend with a half for tasks. Where the package can't be, what needs it is not collected."""

import sys
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest
from django.db import connections

from poolmgr.backends.async_postgresql.requirement import ENGINE, PYTHON
from poolmgr.pools import registry
from poolmgr.targets.postgresql.managed import ManagedPool
from poolsite.demo.servers import EmbeddedPostgres
from tests import pools

ALIAS = "tasks"

collect_ignore = (
    [
        "test_wrapper.py",
        "test_cancelled.py",
        "test_operated.py",
        "test_served.py",
        "test_explicit.py",
        "test_bouncer.py",
        "test_unfinished.py",
        "test_loops.py",
        "test_use_by_label.py",
    ]
    if sys.version_info < PYTHON
    else []
)


@pytest.fixture
def declare(postgres: EmbeddedPostgres, django_db_blocker: Any, settings: Any) -> Iterator[Callable[..., ManagedPool]]:
    """declare({"pool_mode": "transaction"}, TIME_ZONE=…): its pool, which threads and tasks share."""
    settings.POOLMGR = {**settings.POOLMGR, "AGENT": False}
    url = pools.emptied(str(postgres.create_database("async_django")))
    with psycopg.connect(url) as before:
        before.execute("DROP TABLE IF EXISTS made, auth_group")

    def declare(pool: dict[str, Any] | None = None, **values: Any) -> ManagedPool:
        options = {"pool": {"min_size": 0, "max_size": 2, **(pool or {})}, **values.pop("OPTIONS", {})}
        entry = {**pools.database(url), "ENGINE": ENGINE, "OPTIONS": options, **values}
        every = connections.settings["default"]
        completed = {**every, "TIME_ZONE": None, "CONN_MAX_AGE": 0, "CONN_HEALTH_CHECKS": False, **entry}
        connections.settings[ALIAS] = completed  # the package has the same dictionary
        found = connections[ALIAS].managed_pool
        assert found is not None
        return found

    with django_db_blocker.unblock():
        yield declare
        connections[ALIAS].close()
    registry.close(ALIAS)
    del connections[ALIAS], connections.settings[ALIAS]
