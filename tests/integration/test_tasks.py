"""What Celery does for the fleet: checks, rolling recycles that survive their worker, samples, tidying up."""

from __future__ import annotations

import logging
import subprocess
import sys
import threading
import uuid
from collections.abc import Callable, Iterator
from datetime import timedelta
from itertools import pairwise
from typing import Any

import psycopg
import pytest
from django.db import connection
from django.utils import timezone

from poolmgr import tasks
from poolmgr.control import upkeep
from poolmgr.control.access import control_database
from poolmgr.control.commanding import commands, rolling
from poolmgr.control.following.orders import orders_for
from poolmgr.control.reporting.fleet import read_fleet
from poolmgr.control.reporting.health import check_target
from poolmgr.control.store import get_store
from poolmgr.control.store.database import DatabaseStore
from poolmgr.metrics.snapshot import PoolSnapshot, ProcessBeat
from poolmgr.models import Acknowledgement, Command, Event, HealthCheck, PoolProfile, Sample
from poolsite.demo.servers import EmbeddedPostgres, EmbeddedRedis
from tests.proxy import Proxy
from tests.threads import at_once

from .control_fleet import TestFleet, wait_for


@pytest.fixture
def fleet(
    transactional_db: None, postgres: EmbeddedPostgres, redis_server: EmbeddedRedis, settings: Any
) -> Iterator[TestFleet]:
    poolmgr = {
        "NAMESPACE": f"t{uuid.uuid4().hex[:8]}", "POLL_INTERVAL": 60.0, "HEARTBEAT_INTERVAL": 0.3, "COMMAND_TTL": 5.0,
        "REDIS_URL": redis_server.url(),
    }  # fmt: skip
    settings.POOLMGR = {**poolmgr, "AGENT": False}
    made = TestFleet(postgres, poolmgr)
    yield made
    made.stop()


def pids() -> set[int]:
    return {pid for beat in read_fleet().processes for pool in beat.pools for pid in pool.backend_pids}


def test_check_is_stored_with_what_the_server_says(fleet: TestFleet) -> None:
    fleet.start(2)
    wait_for(lambda: len(pids()) >= 2)
    # What earlier processes held may take a moment to go, and would be told of.
    wait_for(lambda: tasks.check_target("default").startswith("default is ok: "))
    check = HealthCheck.objects.latest("id")
    assert check.state == "ok"
    assert (check.server_max, check.server_reserved) == (100, 3)
    assert check.ours >= 2
    assert check.server_used >= check.ours
    assert 0 < check.connect_time < 1
    assert 0 < check.query_time < 1
    assert check.server_version.startswith("PostgreSQL 18")
    assert Event.objects.filter(kind="health").latest("id").message.startswith("ok: ")
    seen = read_fleet().targets[0].last_health
    assert seen is not None
    assert (seen.sentence, seen.at, seen.ours) == (check.message, check.at, check.ours)


def test_a_check_asks_the_profile_s_validation_query(fleet: TestFleet) -> None:
    PoolProfile.objects.create(target="default", validation_query="SELECT nothing_of_that_name")
    tasks.check_target("default")
    check = HealthCheck.objects.get()
    assert check.state == "critical"
    assert check.message.startswith("The validation query fails: the server refuses with SQLSTATE 42703")
    # What else the server says is told all the same.
    assert check.server_max == 100


def test_two_checks_at_once_make_one_row(fleet: TestFleet) -> None:
    run_at_once(lambda: tasks.check_target("default"), 4)
    assert HealthCheck.objects.count() == 1


def run_at_once(what: Any, count: int) -> None:
    def run() -> None:
        with control_database():
            what()

    assert at_once(*[run] * count) == [None] * count


def test_interval_of_the_profile_counts_from_the_next_tick_on(fleet: TestFleet) -> None:
    profile = PoolProfile.objects.create(target="default", health_check_interval=60)
    assert upkeep.targets_due() == ("default",)
    tasks.check_target("default")
    HealthCheck.objects.update(at=timezone.now() - timedelta(seconds=20))
    assert upkeep.targets_due() == ()
    profile.health_check_interval = 15
    profile.save()
    assert upkeep.targets_due() == ("default",)


def test_a_target_that_was_critical_is_checked_again_at_the_next_tick(fleet: TestFleet) -> None:
    PoolProfile.objects.create(target="default", validation_query="SELECT nothing_of_that_name")
    tasks.check_target("default")
    assert upkeep.targets_due() == ()
    HealthCheck.objects.update(at=timezone.now() - timedelta(seconds=tasks.TICK - 0.5))
    assert upkeep.targets_due() == ("default",)
    PoolProfile.objects.update(validation_query="SELECT 1")
    tasks.check_target("default")
    HealthCheck.objects.update(at=timezone.now() - timedelta(seconds=tasks.TICK - 0.5))
    assert upkeep.targets_due() == ()


def test_checks_log_a_line_when_a_target_turns_critical_and_one_when_it_is_back(
    fleet: TestFleet, caplog: pytest.LogCaptureFixture
) -> None:
    PoolProfile.objects.create(target="default")
    caplog.set_level(logging.INFO)
    for query in ("SELECT 1", "SELECT nothing", "SELECT nothing", "SELECT nothing", "SELECT 1", "SELECT 1"):
        PoolProfile.objects.update(validation_query=query)
        HealthCheck.objects.update(at=timezone.now() - timedelta(seconds=60))
        tasks.check_target("default")
    said = [
        (each.levelname, each.getMessage().split(":")[0]) for each in caplog.records if each.name == "poolmgr.tasks"
    ]
    assert len(said) == 6
    assert [each for level, each in said if level == "WARNING"] == ["default is critical", "default is ok"]


def test_a_check_whose_query_waits_leaves_no_session_behind(fleet: TestFleet, postgres: EmbeddedPostgres) -> None:
    url = postgres.superuser_url(str(connection.settings_dict["NAME"]))
    with psycopg.connect(url) as migration, psycopg.connect(url, autocommit=True) as console:
        migration.execute("LOCK TABLE poolmgr_sample IN ACCESS EXCLUSIVE MODE")

        def waiting() -> int:
            count = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%%FROM poolmgr_sample%%' AND pid <> %s"
            row = console.execute(count, [console.info.backend_pid]).fetchone()
            return int(row[0]) if row else 0

        assert check_target("default", 0.6, "SELECT count(*) FROM poolmgr_sample").state == "critical"
        wait_for(lambda: waiting() == 0)
        migration.rollback()


def test_a_row_that_was_made_wrong_in_sql_stops_no_check(fleet: TestFleet) -> None:
    PoolProfile.objects.create(target="default")
    tasks.check_target("default")
    HealthCheck.objects.update(at=timezone.now() - timedelta(seconds=20))
    for wrong in (float("inf"), float("-inf"), float("nan"), 0.0, 1e300):
        PoolProfile.objects.update(health_check_interval=wrong)
        # The bootstrap settings' 30 s.
        assert upkeep.targets_due() == ()
    HealthCheck.objects.update(at=timezone.now() - timedelta(seconds=40))
    assert upkeep.targets_due() == ("default",)


@pytest.mark.long
def test_rolling_recycle_replaces_every_connection_one_process_after_another(fleet: TestFleet) -> None:
    members = fleet.start(3)
    before = wait_for(lambda: len(read_fleet().processes) == 3 and pids())
    assert tasks.recycle("default", "operator") == "3 of 3 processes recycled default."
    wait_for(lambda: not before & pids())
    run = Command.objects.get(process=Command.ROLLING)
    progress = commands.progress(run)
    assert (progress.done, progress.failed, progress.running, progress.total) == (3, 0, 0, 3)
    # One after another: each was ordered after the one before had answered.
    orders = list(Command.objects.exclude(pk=run.pk).order_by("id"))
    for earlier, later in pairwise(orders):
        assert earlier.acknowledgements.get().at <= later.created_at
    for member in members:
        assert member.end()["failed"] == []


@pytest.mark.long
def test_rolling_recycle_goes_on_where_a_dead_worker_left_off(fleet: TestFleet) -> None:
    fleet.start(3)
    beats = wait_for(lambda: len(p := read_fleet().processes) == 3 and p)
    with control_database():
        run = rolling.order("default", "operator")
    # What a worker leaves that dies in the middle: one done, one under way, one to come; its lease has run out.
    done = Acknowledgement.objects.get(command=run, process=beats[0].uid)
    done.state = "done"
    done.save()
    Acknowledgement.objects.filter(command=run, process=beats[1].uid).update(state="running")
    commands.send("recycle", "default", "operator", beats[1].uid)
    assert [each.pk for each in rolling.abandoned()] == [run.pk]
    assert tasks.recycle("default") == "3 of 3 processes recycled default."
    asked = Command.objects.exclude(pk=run.pk).values_list("process", flat=True)
    assert sorted(asked) == sorted(beat.uid for beat in beats[1:])
    assert rolling.abandoned() == ()


@pytest.mark.long
def test_rolling_recycle_passes_over_processes_that_died(fleet: TestFleet) -> None:
    fleet.start(1)
    wait_for(lambda: read_fleet().processes)
    with control_database():
        run = rolling.order("default", "operator")
        Acknowledgement.objects.create(command=run, process="gone", state="waiting")
    assert tasks.recycle("default") == "2 of 2 processes recycled default."
    assert "ended by itself" in Acknowledgement.objects.get(process="gone").message


@pytest.mark.long
def test_process_that_never_answers_fails_and_does_not_stop_the_rest(fleet: TestFleet) -> None:
    fleet.start(1)
    wait_for(lambda: read_fleet().processes)
    deaf = ProcessBeat("deaf", "h", 1, "web", 1.0, 1.0, pools=read_fleet().processes[0].pools)
    get_store().beat(deaf)
    assert tasks.recycle("default") == "1 of 2 processes recycled default; 1 failed."
    assert (
        Acknowledgement.objects.get(command__process=Command.ROLLING, process="deaf").message == "no answer within 5 s"
    )


@pytest.mark.long
def test_rolling_recycle_passes_over_nobody_whom_redis_does_not_name_at_the_moment(  # P9 P11
    fleet: TestFleet, settings: Any, redis_server: EmbeddedRedis
) -> None:
    fleet.start(1)
    (known,) = wait_for(lambda: read_fleet().processes)
    # One that can't reach Redis itself beats into rows.
    with control_database():
        DatabaseStore().beat(ProcessBeat("cut off", "h", 1, "web", 1.0, 1.0, pools=(PoolSnapshot("default"),)))
    proxy = Proxy(redis_server.port)
    try:
        url = redis_server.url().replace(f":{redis_server.port}", f":{proxy.port}")
        settings.POOLMGR = {**settings.POOLMGR, "REDIS_URL": url}
        proxy.freeze()
        thaw = threading.Timer(1.2, proxy.thaw)
        thaw.start()
        with control_database():
            run = rolling.order("default", "operator")
        thaw.join(10)
    finally:
        proxy.close()
    plan = set(Acknowledgement.objects.filter(command=run).values_list("process", flat=True))
    assert plan == {known.uid, "cut off"}


def test_rolling_recycle_of_a_fleet_that_can_not_be_read_recycles_nothing_and_says_so(  # P9 P11
    fleet: TestFleet, settings: Any, make_redis: Callable[[], EmbeddedRedis]
) -> None:
    server = make_redis()
    settings.POOLMGR = {**settings.POOLMGR, "REDIS_URL": server.url()}
    server.stop()
    told = tasks.recycle("default")
    assert told.startswith("Nothing of default is recycled, since no process is known. Redis at 127.0.0.1:"), told
    assert not Command.objects.exists()


def test_process_is_not_taken_for_gone_with_the_redis_that_knew_it(
    fleet: TestFleet, settings: Any, make_redis: Callable[[], EmbeddedRedis]
) -> None:
    server = make_redis()
    settings.POOLMGR = {**settings.POOLMGR, "REDIS_URL": server.url(), "COMMAND_TTL": 1}
    get_store().beat(ProcessBeat("away", "h", 1, "web", 1.0, 1.0, pools=(PoolSnapshot("default"),)))
    with control_database():
        rolling.order("default", "operator")
    server.stop()
    assert tasks.recycle("default") == "0 of 1 process recycled default; 1 failed."


@pytest.mark.long
def test_two_drivers_at_once_recycle_once(fleet: TestFleet) -> None:
    fleet.start(2)
    wait_for(lambda: len(read_fleet().processes) == 2)
    said: list[str] = []
    run_at_once(lambda: said.append(rolling.drive("default", "operator")), 3)
    assert said.count("2 of 2 processes recycled default.") == 1
    assert said.count("Another worker recycles default already.") == 2
    assert Command.objects.filter(process=Command.ROLLING).count() == 1
    assert Command.objects.exclude(process=Command.ROLLING).count() == 2


@pytest.mark.parametrize("seconds", [-90, 90])
def test_clocks_that_disagree_end_no_command_and_take_no_lease(
    fleet: TestFleet, monkeypatch: pytest.MonkeyPatch, seconds: int
) -> None:
    real = timezone.now
    monkeypatch.setattr(timezone, "now", lambda: real() + timedelta(seconds=seconds))
    with control_database():
        command = commands.send("recycle", "default", "operator")
        assert orders_for("anybody") == (command,)
        assert abs(command.expires_at - real() - timedelta(seconds=5)) < timedelta(seconds=2)
        run = rolling.order("default", "operator")
        assert rolling.abandoned() == (run,)
        lease = rolling._Lease(run)
        assert lease.claim()
        # As another host sees it.
        monkeypatch.setattr(timezone, "now", lambda: real() - timedelta(seconds=seconds))
        assert rolling.abandoned() == ()
        assert not rolling._Lease(Command.objects.get(pk=run.pk)).claim()
        lease.renew()


def test_a_task_that_works_in_vain_is_a_line_in_the_log_when_it_begins_and_one_when_it_is_over(
    fleet: TestFleet, settings: Any, make_redis: Callable[[], EmbeddedRedis], caplog: pytest.LogCaptureFixture
) -> None:
    server = make_redis()
    settings.POOLMGR = {**settings.POOLMGR, "REDIS_URL": server.url()}
    tasks.sweep()  # which ends what failed in another test
    caplog.clear()
    server.stop()
    said = [tasks.sweep() for _ in range(3)]
    assert all("can't be reached" in each for each in said)
    server.restart()
    wait_for(lambda: tasks.sweep() == "0 dead processes cleared away")
    told = [
        each.getMessage() for each in caplog.records if each.name == "poolmgr.tasks" and each.levelname == "WARNING"
    ]
    assert len(told) == 2, told
    assert told[0].startswith("sweep did nothing: ")
    assert told[1].startswith("sweep works again, after ")


def test_prune_keeps_what_is_young_and_the_pause_that_holds(fleet: TestFleet, settings: Any) -> None:
    settings.POOLMGR = {**settings.POOLMGR, "SAMPLE_RETENTION": 60, "EVENT_RETENTION": 60}
    pause = commands.send("pause", "default", "operator")
    old = commands.send("recycle", "default", "operator")
    tasks.check_target("default")
    long_ago = timezone.now() - timedelta(hours=1)
    Command.objects.update(expires_at=long_ago)
    Event.objects.update(at=long_ago)
    HealthCheck.objects.update(at=long_ago)
    young = commands.send("recycle", "default", "operator")
    tasks.prune()
    assert set(Command.objects.values_list("pk", flat=True)) == {pause.pk, young.pk}
    assert old.pk not in {pause.pk, young.pk}
    assert HealthCheck.objects.count() == 0
    assert Event.objects.count() == 1


def test_sweep_records_a_process_that_died_without_a_word(fleet: TestFleet, settings: Any) -> None:
    settings.POOLMGR = {**settings.POOLMGR, "PROCESS_TTL": 1}
    get_store().beat(ProcessBeat("h-1-x", "h", 1, "web", 1.0, 1.0))
    wait_for(lambda: not get_store().processes(), 5)
    run_at_once(upkeep.sweep, 3)
    assert [event.message for event in Event.objects.all()] == [
        "Process h-1-x ended without a word; no heartbeat for 1 s."
    ]


@pytest.mark.parametrize("into_rows", [True, False])
def test_sweep_buries_nobody_who_went_to_the_other_store(fleet: TestFleet, settings: Any, into_rows: bool) -> None:
    settings.POOLMGR = {**settings.POOLMGR, "PROCESS_TTL": 1}
    left, now = (get_store(), DatabaseStore()) if into_rows else (DatabaseStore(), get_store())
    beat = ProcessBeat("h-1-x", "h", 1, "web", 1.0, 1.0)
    left.beat(beat)
    wait_for(lambda: not left.processes(), 5)
    now.beat(beat)
    assert upkeep.sweep() == ()
    assert not Event.objects.exists()
    wait_for(lambda: not now.processes(), 5)
    assert upkeep.sweep() == ("h-1-x",)
    assert Event.objects.count() == 1


def test_tick_through_a_real_worker(fleet: TestFleet) -> None:
    fleet.start(1)
    wait_for(lambda: read_fleet().processes)
    worker = subprocess.Popen(
        [sys.executable, "-m", "celery", "-A", "poolsite", "worker", "-c", "1", "--loglevel", "WARNING", "-Q", "celery"],
        env={**fleet.environment, "REDIS_URL": fleet.poolmgr["REDIS_URL"]}, start_new_session=True,
    )  # fmt: skip
    try:
        program = "import django; django.setup(); from poolmgr.tasks import tick; tick.delay()"
        environment = {**fleet.environment, "REDIS_URL": fleet.poolmgr["REDIS_URL"]}
        subprocess.run([sys.executable, "-c", program], env=environment, check=True, timeout=30)
        wait_for(lambda: HealthCheck.objects.exists() and Sample.objects.exists(), 30)
        wait_for(lambda: "worker" in {beat.role for beat in read_fleet().processes})
    finally:
        worker.terminate()
        worker.wait(20)


def test_tasks_work_without_celery(site_environment: dict[str, str]) -> None:  # P11
    program = """
import sys
sys.modules["celery"] = None
import os
from django.conf import settings
settings.configure(
    INSTALLED_APPS=["poolmgr"], DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
)
import django; django.setup()
from poolmgr import tasks
print(tasks.check_target.__name__, sorted(tasks.beat_schedule()))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30)
    assert done.stdout.strip() == "check_target ['poolmgr-prune', 'poolmgr-sweep', 'poolmgr-tick']", done.stderr
