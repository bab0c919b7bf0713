"""Pools on the run's server, with and without Django in between."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.db import connection

from poolmgr.pools import registry
from poolmgr.targets.postgresql.managed import ManagedPool
from tests.agents import without_agent
from tests.integration.backend import follow
from tests.pools import managed_pool


@pytest.fixture
def pool_url(postgres: Any) -> str:
    return str(postgres.create_database("pools"))


@pytest.fixture
def make_pool(pool_url: str) -> Iterator[Callable[..., ManagedPool]]:
    made: list[ManagedPool] = []

    def one(**settings: Any) -> ManagedPool:
        made.append(managed_pool(pool_url, **settings))
        return made[-1]

    yield one
    for pool in made:
        pool.close()


@pytest.fixture
def small_pool(transactional_db: None, settings: Any) -> Iterator[Callable[..., ManagedPool]]:
    """small_pool(mode, max_size=1, …): the settings in force, and nothing checked out."""
    settings.POOLMGR = {**settings.POOLMGR, "AGENT": False}
    without_agent()
    connection.close()

    def make(mode: str, **values: Any) -> ManagedPool:
        return follow(**{"pool_mode": mode, "min_size": 0, "max_size": 1, "connection_timeout": 3.0, **values})

    yield make
    connection.close()
    registry.set_desired({})


@pytest.fixture
def lent_pool(small_pool: Callable[..., ManagedPool]) -> Callable[..., ManagedPool]:
    """small_pool(), with figures that begin at nothing."""
    registry.close("default")
    return small_pool
