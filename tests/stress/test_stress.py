"""Random actions of many threads on a small pool, while an operator edits it and its connections die.

STRESS_SECONDS sets how long (20), STRESS_SEED repeats a run's choices, though not the interleaving of its threads.
"""

import faulthandler
import os
import random
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from random import Random
from typing import Any

import psycopg
import pytest
from django.db import connections

from poolmgr.pools import registry
from poolmgr.pools.allowance import Allowance
from poolmgr.pools.desired import Desired
from poolmgr.pools.spec import make_spec
from poolmgr.targets.postgresql.managed import ManagedPool
from tests.agents import without_agent
from tests.faults.borrowers import database
from tests.pools import backends
from tests.stress.actions import ALIAS, World, judge, serve
from tests.waiting import until

SECONDS = float(os.environ.get("STRESS_SECONDS", "20"))
SEED = os.environ.get("STRESS_SEED") or str(random.randrange(10**6))
THREADS = 12

#: Never more than this many connections. Fewer than threads, and a wait this long means that one was lost.
MOST = 5
PATIENCE = 20.0


def wanted(mode: str = "transaction", **values: Any) -> Desired:
    spec = {"min_size": 0, "max_size": 4, "connection_timeout": PATIENCE, "pool_mode": mode, **values}
    return Desired(make_spec(spec), "profile 1", time.monotonic_ns())


@pytest.fixture
def pool(postgres: Any, settings: Any, django_db_blocker: Any) -> Iterator[ManagedPool]:
    settings.POOLMGR = {**settings.POOLMGR, "AGENT": False}
    without_agent()
    url = postgres.create_database("stress")
    with psycopg.connect(url, autocommit=True) as console:
        console.execute("DROP TABLE IF EXISTS stress; CREATE TABLE stress (token text)")
    with django_db_blocker.unblock():
        connections.settings[ALIAS] = database(url, {"min_size": 0, "max_size": 4, "timeout": PATIENCE})
        registry.set_desired({ALIAS: wanted()})
        yield connections[ALIAS].managed_pool
        connections[ALIAS].close()
        registry.set_desired({})
        registry.close(ALIAS)
        del connections[ALIAS]
        del connections.settings[ALIAS]


class Operator:
    """Edits, recycles, pauses, kills and cancels."""

    def __init__(self, pool: ManagedPool, url: str, random: Random) -> None:
        self.pool = pool
        self.random = random
        self.console = psycopg.connect(url, autocommit=True)

    def edit(self) -> None:
        registry.set_desired(
            {
                ALIAS: wanted(
                    self.random.choice(["session", "transaction", "transaction", "statement"]),
                    max_size=self.random.randint(2, MOST),
                    min_size=self.random.randint(0, 2),
                    validation=self.random.choice(["socket", "query"]),
                    validate_after_idle=self.random.choice([0, 0.05, 30]),
                    max_lifetime=self.random.choice([1, 3600]),
                    idle_timeout=self.random.choice([0.5, 600]),
                    keepalive_interval=self.random.choice([0, 0.1]),
                )
            }
        )

    def limit(self) -> None:
        self.pool.limit(self.random.choice([None, Allowance(1), Allowance(3)]))

    def recycle(self) -> None:
        self.pool.recycle(timeout=1.0)

    def pause(self) -> None:
        self.pool.pause()
        time.sleep(self.random.uniform(0, 0.1))
        self.pool.resume()

    def kill(self) -> None:
        self.console.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database()"
            " AND pid <> pg_backend_pid() AND backend_type = 'client backend' ORDER BY random() LIMIT %s",
            [self.random.choice([1, 1, 1, 10])],
        )

    def cancel(self) -> None:
        self.console.execute(
            "SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE datname = current_database()"
            " AND pid <> pg_backend_pid() AND state = 'active' AND query LIKE '%cancel me%'"
        )

    def work(self, world: World) -> None:
        doings: dict[Callable[[], None], int] = {
            self.edit: 4, self.limit: 1, self.recycle: 1, self.pause: 1, self.kill: 2, self.cancel: 4,
        }  # fmt: skip
        with self.console:
            # Everything once, then by weight.
            first = self.random.sample(list(doings), len(doings))
            while not world.ended.wait(self.random.uniform(0, 0.3)):
                doing = first.pop() if first else self.random.choices(list(doings), list(doings.values()))[0]
                try:
                    doing()
                except Exception:
                    world.break_promise(f"{doing.__name__}: {traceback.format_exc()}")
                world.note(world.done, doing.__name__)


@pytest.mark.long
@pytest.mark.filterwarnings("error::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.timeout(SECONDS + 120)
def test_nothing_is_shared_lost_or_left_behind_whatever_happens(
    pool: ManagedPool, postgres: Any
) -> None:  # P2 P3 P4 P5 P7
    url, world = postgres.url("stress"), World()
    operator = Operator(pool, url, Random(f"{SEED} operator"))
    jobs = [lambda number=number: serve(world, Random(f"{SEED} {number}")) for number in range(THREADS)]
    threads = [threading.Thread(target=guard, args=(world, job)) for job in [lambda: operator.work(world), *jobs]]
    for thread in threads:
        thread.start()
    world.ended.wait(SECONDS)
    world.ended.set()
    deadline = time.monotonic() + PATIENCE + 10
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    told = f"STRESS_SEED={SEED}: {world.done} {world.errors}"
    print(told)
    if any(thread.is_alive() for thread in threads):
        faulthandler.dump_traceback(file=sys.__stderr__)
        pytest.fail(f"a thread hangs; {told}")
    assert not world.violations, f"{world.violations[:5]} {told}"

    pool.limit(None)
    registry.set_desired({ALIAS: wanted()})
    until(lambda: pool.snapshot().used == 0, "every connection to come back", 5)
    until(lambda: backends(url) == set(pool.snapshot().backend_pids), "the server to agree")
    seen = pool.snapshot()
    assert seen.size <= seen.max_size, told
    assert seen.pending == 0
    with psycopg.connect(url) as console:
        locks = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND database = (SELECT oid FROM pg_database WHERE datname = 'stress')"
        assert console.execute(locks).fetchone() == (0,), told
        [rows, strays] = console.execute(
            "SELECT count(*) FILTER (WHERE token <> 'inner'), count(*) FILTER (WHERE token = 'inner') FROM stress"
        ).fetchone()
    # No transaction was lost, doubled or half done.
    assert world.committed <= rows <= world.committed + world.uncertain, told
    assert strays == 0, told
    assert world.owners == {}
    assert all(
        world.done.get(name, 0) for name in ("read", "write", "leave_traces", "die", "kill", "recycle", "edit")
    ), told


def guard(world: World, job: Callable[[], None]) -> None:
    try:
        job()
    except Exception as ex:
        judge(world, "thread", ex)
