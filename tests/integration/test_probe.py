"""The look at a target's server, whose thread and session end by its deadline whatever the server does."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest
from django.db import connections
from msgspec.structs import replace

from poolmgr.control.reporting.ours import our_pids
from poolmgr.control.reporting.probe import Probe
from poolmgr.control.store import get_store
from poolsite.demo.servers import EmbeddedPostgres
from tests.integration.console import beat, own_fleet, own_pool
from tests.integration.elsewhere import ELSEWHERE, elsewhere
from tests.pools import backends
from tests.waiting import until

ALIAS = "probed"


@pytest.fixture
def slow_figures(db: None, postgres: EmbeddedPostgres) -> Iterator[str]:
    """The URL of the target's database, in which whoever asks for the server's figures waits for a lock."""
    url = postgres.create_database("probed")
    with psycopg.connect(url, autocommit=True) as owner:
        owner.execute("ALTER DATABASE probed SET search_path = public, pg_catalog")
        owner.execute("CREATE TABLE public.pg_stat_activity AS SELECT * FROM pg_catalog.pg_stat_activity LIMIT 0")
    connections.settings[ALIAS] = {**connections.settings["default"], "NAME": "probed", "PORT": str(postgres.port)}
    with psycopg.connect(url) as holder:
        holder.execute("LOCK TABLE public.pg_stat_activity IN ACCESS EXCLUSIVE MODE")
        yield url
    connections[ALIAS].close()
    del connections[ALIAS]
    del connections.settings[ALIAS]


def probing() -> list[Any]:
    return [thread for thread in threading.enumerate() if thread.name == "poolmgr-probe"]


def test_probe_whose_server_turns_silent_ends_its_thread_and_its_session(  # P8 P10
    postgres: EmbeddedPostgres, slow_figures: str
) -> None:
    others = probing()
    found = Probe(ALIAS, 1.0, lambda: "SELECT 1").result(())
    assert found.state == "critical"
    until(lambda: not set(probing()).difference(others), "the probe's thread to end", 5)
    # But for the one that has the lock.
    until(lambda: len(backends(postgres.superuser_url(), "probed")) == 1, "its session to end", 5)


@pytest.mark.django_db(transaction=True)
def test_another_alias_of_the_same_server_is_no_stranger(settings: Any, redis_server: Any) -> None:
    own_fleet(settings, redis_server)
    with connections["default"].cursor():
        pool = own_pool().snapshot()
        assert pool.backend_pids
        beat(
            replace(pool, target="reports", backend_pids=(7001, 7002)),
            replace(pool, target="far", address="far:5432/x", backend_pids=(9001,)),
            uid="other-1",
        )
        ours = our_pids("default", get_store().processes())
    # The pool may have opened one more meanwhile.
    assert ours >= {*pool.backend_pids, 7001, 7002}
    assert 9001 not in ours


@pytest.mark.long
@pytest.mark.django_db(transaction=True)
def test_a_server_at_which_nobody_is_has_none_of_ours(make_postgres: Callable[..., EmbeddedPostgres]) -> None:
    with elsewhere(make_postgres()):
        # Whoever made the database may not be quite gone.
        found = until(lambda: (told := Probe(ELSEWHERE, 5.0, lambda: "SELECT 1").result(())).server_used == 0 and told)
    assert (found.state, found.ours) == ("ok", 0)
