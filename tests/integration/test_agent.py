"""The agent through what goes wrong: Redis away, the control database away, not migrated, silent; forks and test databases."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import psutil
import psycopg
import pytest
from django.db import connections

from poolmgr import tasks
from poolmgr.control import upkeep
from poolmgr.control.editing import profiles
from poolmgr.control.reporting.fleet import read_fleet
from poolmgr.control.reporting.health import check_target
from poolmgr.control.reporting.report import make_report
from poolmgr.control.store import get_store
from poolmgr.models import PoolProfile, Process
from poolsite.demo.servers import EmbeddedPostgres, EmbeddedRedis

from .control_fleet import TestFleet, wait_for


def options(**more: Any) -> dict[str, Any]:
    return {"NAMESPACE": f"t{uuid.uuid4().hex[:8]}", "POLL_INTERVAL": 0.5, "HEARTBEAT_INTERVAL": 0.3, **more}


@pytest.fixture
def make_fleet(transactional_db: None, postgres: EmbeddedPostgres, settings: Any) -> Iterator[Callable[..., TestFleet]]:
    made: list[TestFleet] = []

    def make(**more: Any) -> TestFleet:
        poolmgr = options(**more)
        settings.POOLMGR = {**poolmgr, "AGENT": False}
        made.append(TestFleet(postgres, poolmgr))
        return made[-1]

    yield make
    for fleet in made:
        fleet.stop()


def works_on(members: list[Any]) -> None:
    for member in members:
        last = member.end()
        assert last["failed"] == []
        assert last["worked"] > 20


def test_without_redis_the_site_works_on_and_says_so(  # P11
    make_fleet: Callable[..., TestFleet], make_redis: Callable[[], EmbeddedRedis]
) -> None:
    server = make_redis()
    fleet = make_fleet(REDIS_URL=server.url())
    members = fleet.start(2)
    wait_for(lambda: len(read_fleet().processes) == 2 and read_fleet().store == "redis")
    server.stop()
    # Edits arrive by the poll, heartbeats through rows, and the page says why it is slower.
    profiles.save_profile(PoolProfile(target="default", min_size=1, max_size=6), "operator")
    for member in members:
        wait_for(lambda member=member: member.first(max_size=6), 10)
    seen = wait_for(lambda: (f := read_fleet()).store == "database" and len(f.processes) == 2 and f, 15)
    assert f"Redis at 127.0.0.1:{server.port} can't be reached" in seen.store_error
    server.restart()
    wait_for(lambda: (f := read_fleet()).store == "redis" and len(f.processes) == 2 and not f.store_error, 15)
    works_on(members)


@pytest.mark.long
def test_process_that_ends_while_redis_is_away_takes_its_leave_of_the_control_database(  # P11
    make_fleet: Callable[..., TestFleet], make_redis: Callable[[], EmbeddedRedis]
) -> None:
    server = make_redis()
    fleet = make_fleet(REDIS_URL=server.url())
    (member,) = fleet.start(1)
    wait_for(lambda: read_fleet().store == "redis" and len(read_fleet().processes) == 1)
    server.stop()
    wait_for(lambda: Process.objects.count() == 1, 15)
    assert member.end()["failed"] == []
    assert not Process.objects.exists()


@pytest.mark.long
def test_redis_that_was_silent_for_a_while_buries_nobody(  # P11
    make_fleet: Callable[..., TestFleet], make_redis: Callable[[], EmbeddedRedis]
) -> None:
    server = make_redis()
    fleet = make_fleet(REDIS_URL=server.url(), PROCESS_TTL=3)
    members = fleet.start(2)
    wait_for(lambda: len(read_fleet().processes) == 2)
    os.kill(server.pid, signal.SIGSTOP)
    try:
        wait_for(lambda: Process.objects.count() == 2, 15)
    finally:
        os.kill(server.pid, signal.SIGCONT)
    wait_for(lambda: (f := read_fleet()).store == "redis" and len(f.processes) == 2, 15)
    # Who is back at Redis takes its row along.
    wait_for(lambda: not Process.objects.exists(), 15)
    assert upkeep.sweep() == ()
    works_on(members)


@pytest.mark.long
def test_control_database_that_is_down_costs_no_heartbeat_and_no_settings(  # P11
    make_fleet: Callable[..., TestFleet], redis_server: EmbeddedRedis, make_postgres: Callable[..., EmbeddedPostgres]
) -> None:
    server = make_postgres()
    url = server.create_database("site")
    fleet = make_fleet(REDIS_URL=redis_server.url())
    environment = {"DATABASE_URL": url, "TEST_THREADS": "0"}
    (member,) = fleet.start(1, **environment)
    # Installed but not migrated: the bootstrap settings rule, and the fleet says what is missing.
    beat = wait_for(lambda: (p := read_fleet().processes) and p[0].problems and p[0], 10)
    assert beat.problems == ("The tables of poolmgr are not in the control database; run manage.py migrate.",)
    assert beat.pools[0].profile == "bootstrap"
    server.stop("immediate")
    get_store().notify()
    beat = wait_for(lambda: "nothing listens" in " ".join((b := read_fleet().processes[0]).problems) and b, 10)
    server.restart()
    assert member.process.poll() is None
    wait_for(lambda: "not in the control database" in " ".join(read_fleet().processes[0].problems), 15)


@pytest.mark.long
def test_silent_control_database_does_not_silence_the_heartbeat(  # P8
    make_fleet: Callable[..., TestFleet], redis_server: EmbeddedRedis, make_postgres: Callable[..., EmbeddedPostgres]
) -> None:
    server = make_postgres()
    url = server.create_database("site")
    fleet = make_fleet(REDIS_URL=redis_server.url(), PROCESS_TTL=20)
    fleet.start(1, DATABASE_URL=url, TEST_THREADS="0")
    wait_for(lambda: read_fleet().processes, 10)
    stopped = [server.pid, *(child.pid for child in psutil.Process(server.pid).children(recursive=True))]
    for pid in stopped:
        with suppress(ProcessLookupError):  # one that has ended meanwhile
            os.kill(pid, signal.SIGSTOP)
    try:
        get_store().notify()
        began = time.time()
        beat = wait_for(lambda: (p := read_fleet().processes) and p[0].problems and p[0].at > began + 0.5 and p[0], 18)
        assert beat.problems
    finally:
        for pid in reversed(stopped):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)


@pytest.mark.long
def test_tables_that_appear_are_followed(
    make_fleet: Callable[..., TestFleet], redis_server: EmbeddedRedis, make_postgres: Callable[..., EmbeddedPostgres]
) -> None:
    server = make_postgres()
    url = server.create_database("site")
    fleet = make_fleet(REDIS_URL=redis_server.url())
    environment = {**fleet.environment, "DATABASE_URL": url}
    (member,) = fleet.start(1, DATABASE_URL=url)
    wait_for(lambda: (p := read_fleet().processes) and p[0].problems)
    subprocess.run([sys.executable, "manage.py", "migrate", "poolmgr", "-v0"], env=environment, check=True, timeout=60)
    with psycopg.connect(url, autocommit=True) as connection:
        names = PoolProfile(target="default", min_size=1, max_size=7).values()
        columns = ", ".join(names)
        connection.execute(
            f"INSERT INTO poolmgr_poolprofile (target, role, enabled, revision, updated_at, updated_by, {columns})"
            f" VALUES ('default', '', true, 1, now(), '', {', '.join(['%s'] * len(names))})",
            list(names.values()),
        )
    wait_for(lambda: member.first(max_size=7), 10)
    works_on([member])


# Two children: one at once, while the agent of the parent starts, and one in the middle of the first import by a thread, if
# there is one until the parent reports. Then an import is slow, as under load.
FORKS = """
import os, sys, threading, time, django; django.setup()
from importlib.machinery import PathFinder
from django.db import connection
from poolmgr.control.store import get_store
parent, importing = os.getpid(), threading.Event()
class SlowInThreads:
    @staticmethod
    def find_spec(name, path=None, target=None):
        spec = PathFinder.find_spec(name, path, target)
        if spec is None or threading.current_thread() is threading.main_thread() or os.getpid() != parent:
            return spec
        execute = spec.loader.exec_module
        def slowly(module):
            importing.set()
            time.sleep(1)
            execute(module)
        spec.loader.exec_module = slowly
        return spec
sys.meta_path.insert(0, SlowInThreads)
def query():
    with connection.cursor() as cursor: cursor.execute("SELECT 1")
    connection.close()
def fork():
    if not os.fork():
        query()
        time.sleep(60)
        os._exit(0)
query()
fork()
while not importing.is_set() and parent not in {beat.pid for beat in get_store().processes()}:
    time.sleep(0.01)
fork()
query()
time.sleep(60)
"""


def test_forked_child_has_its_own_agent(
    make_fleet: Callable[..., TestFleet], redis_server: EmbeddedRedis
) -> None:  # P3
    def sessions() -> list[tuple[int, ...]]:
        return [tuple(beat.pools[0].backend_pids) for beat in read_fleet().processes]

    fleet = make_fleet(REDIS_URL=redis_server.url())
    parent = subprocess.Popen([sys.executable, "-c", FORKS], env=fleet.environment, start_new_session=True)
    try:
        # How long a start takes is nobody's promise.
        wait_for(lambda: parent.pid in {beat.pid for beat in read_fleet().processes}, 60)
        seen = wait_for(lambda: len(held := sessions()) == 3 and all(held) and held, 15)
        assert len(set().union(*seen)) == sum(map(len, seen))
    finally:
        os.killpg(parent.pid, signal.SIGKILL)
        parent.wait(10)


@pytest.mark.long
def test_budget_of_the_fleet_is_kept_while_processes_come_and_die(  # P6
    make_fleet: Callable[..., TestFleet], redis_server: EmbeddedRedis
) -> None:
    fleet = make_fleet(REDIS_URL=redis_server.url(), PROCESS_TTL=3)
    pool = {"min_size": 1, "max_size": 8, "budget": 8, "timeout": 20}
    environment = {"TEST_POOL": json.dumps(pool), "TEST_THREADS": "8", "TEST_SLEEP": "0.05"}
    first = fleet.start(1, **environment)
    # Alone it may have everything.
    wait_for(lambda: (first[0].last.get("limit") or 0) == 8, 15)
    others = fleet.start(2, **environment)
    assert watch_connections(5.0) <= 8
    first[0].kill()
    wait_for(lambda: max(other.last.get("limit", 0) for other in others) > 1, 15)
    assert watch_connections(2.0) <= 8
    works_on(others)


@pytest.mark.long
def test_budget_below_the_number_of_processes_is_told(  # P6
    make_fleet: Callable[..., TestFleet], redis_server: EmbeddedRedis
) -> None:
    fleet = make_fleet(REDIS_URL=redis_server.url())
    members = fleet.start(3, TEST_POOL=json.dumps({"min_size": 1, "max_size": 4, "budget": 2}))
    said = "3 processes may hold 1 connection each whatever the budget, and it is 2; "
    wait_for(lambda: said in (v := read_fleet().targets[0].verdict).sentence and v.state == "warning", 15)
    works_on(members)


@pytest.mark.long
def test_frozen_process_that_holds_connections_is_named(  # P6
    make_fleet: Callable[..., TestFleet], redis_server: EmbeddedRedis
) -> None:
    fleet = make_fleet(REDIS_URL=redis_server.url(), PROCESS_TTL=2)
    frozen, other = fleet.start(2)
    wait_for(lambda: len(read_fleet().processes) == 2)
    said = f":{frozen.process.pid} ("
    assert said not in check_target("default").message
    os.kill(frozen.process.pid, signal.SIGSTOP)
    try:
        check = wait_for(lambda: said in (c := check_target("default")).message and c, 15, 0.2)
        assert check.state == "warning"
        assert f":{other.process.pid} (" not in check.message
        # And in the verdicts, for as long as it lasts: poolcheck's, and that of the pages by the check that was stored.
        assert said in make_report(("default",)).verdict.sentence
        tasks.check_target("default")
        (target,) = read_fleet().targets
        assert (target.verdict.state, said in target.verdict.sentence) == ("warning", True)
    finally:
        os.kill(frozen.process.pid, signal.SIGCONT)
    wait_for(lambda: said not in check_target("default").message, 15, 0.2)
    wait_for(lambda: tasks.check_target("default").startswith("default is ok"), 15, 0.2)
    assert said not in read_fleet().targets[0].verdict.sentence
    assert said not in make_report(("default",)).verdict.sentence


def watch_connections(seconds: float) -> int:
    """The most connections that the fleet's processes had to this test's database at once."""
    deadline, most = time.monotonic() + seconds, 0
    while time.monotonic() < deadline:
        with connections["default"].cursor() as cursor:
            cursor.execute(
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND query LIKE %s"
                " AND pid <> pg_backend_pid()",
                ["%pg_sleep%"],
            )
            most = max(most, cursor.fetchone()[0])
        time.sleep(0.05)
    return most


@pytest.mark.long
def test_test_databases_come_and_go_under_a_busy_agent(
    redis_server: EmbeddedRedis, make_fleet: Callable[..., TestFleet]
) -> None:
    fleet = make_fleet(REDIS_URL=redis_server.url(), POLL_INTERVAL=0.1)
    program = """
import django; django.setup()
from django.db import connection
from django.test.utils import setup_databases, teardown_databases
for turn in range(3):
    made = setup_databases(verbosity=0, interactive=False)
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM poolmgr_poolprofile")
    connection.close()
    teardown_databases(made, verbosity=0)
print("gone")
"""
    environment = {
        **fleet.environment,
        "DATABASE_URL": fleet.environment["DATABASE_URL"].replace("/test_", "/test_again_"),
    }
    with psycopg.connect(fleet.environment["DATABASE_URL"], autocommit=True) as connection:
        connection.execute("CREATE DATABASE test_again_site")
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, timeout=100)
    assert done.stdout.strip() == "gone", done.stderr
