"""One process of a fleet manages a PgBouncer for all, by either store; another does when it is gone."""

import os
import signal
import socket
import subprocess
import sys
import textwrap
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest
from django.conf import settings as django_settings

from poolmgr.control.commanding import commands
from poolmgr.control.editing import profiles
from poolmgr.control.reporting.fleet import read_fleet
from poolmgr.metrics.snapshot import ProcessBeat
from poolmgr.models import Acknowledgement, Lease, PoolProfile
from poolmgr.targets.pgbouncer.kind import PGBOUNCER
from poolsite.demo.servers import EmbeddedPostgres, EmbeddedRedis
from tests.agents import without_agent
from tests.bouncer import Bouncer
from tests.integration.control_fleet import TestFleet, wait_for

pytestmark = pytest.mark.django_db(transaction=True)

TARGET = "bouncer"
TTL = 6.0


@pytest.fixture(scope="module")
def bouncer(make_bouncer: Callable[..., Bouncer]) -> Bouncer:
    return make_bouncer({"app": ""})


@pytest.fixture(params=["redis", pytest.param("database", marks=pytest.mark.long)])
def fleet(
    request: pytest.FixtureRequest,
    transactional_db: None,
    postgres: EmbeddedPostgres,
    redis_server: EmbeddedRedis,
    bouncer: Bouncer,
    settings: Any,
) -> Iterator[TestFleet]:
    """Of two processes."""
    declared = {"KIND": "pgbouncer", "URL": bouncer.console_url(), "DATABASES": ["app"]}
    poolmgr = {**_intervals(), "TARGETS": {TARGET: declared}}
    if request.param == "redis":
        poolmgr["REDIS_URL"] = redis_server.url()
    settings.POOLMGR = {**poolmgr, "AGENT": False}
    without_agent()
    made = TestFleet(postgres, poolmgr)
    made.start(2, TEST_THREADS="1")
    yield made
    made.stop()
    settings.POOLMGR = {"AGENT": False}
    bouncer.console("RELOAD")


def _intervals() -> dict[str, Any]:
    return {
        "NAMESPACE": f"t{uuid.uuid4().hex[:8]}",
        "POLL_INTERVAL": 0.5,
        "HEARTBEAT_INTERVAL": 0.3,
        "PROCESS_TTL": TTL,
    }


def leaders() -> list[ProcessBeat]:
    """Who reports for it, with something seen."""
    return [beat for beat in read_fleet().processes if any(pool.target == TARGET and pool.limit for pool in beat.pools)]


def view() -> Any:
    return next(view for view in read_fleet().targets if view.target == TARGET)


@pytest.mark.long
def test_one_process_leads_and_another_goes_on_when_it_is_killed(fleet: TestFleet, bouncer: Bouncer) -> None:  # P5
    [leader] = wait_for(leaders)
    assert bouncer.consoles() == 1
    values = PGBOUNCER.make_spec({"max_size": 7, "budget": 9, "pool_mode": "transaction"}).to_dict()
    profiles.save_profile(PoolProfile(target=TARGET, **values), "ann")
    wait_for(lambda: bouncer.setting("default_pool_size") == "7")
    assert bouncer.setting("max_db_connections") == "9"
    wait_for(lambda: view().applied == (1, 1))
    # PgBouncer keeps to the budget itself: nobody asks for a lease.
    assert not Lease.objects.filter(leases__contains=TARGET).exists()
    command = commands.send("pause", TARGET, "ann")
    said = wait_for(lambda: Acknowledgement.objects.filter(command=command).exclude(state="running").first())
    assert (said.process, said.state, said.message) == (leader.uid, "done", "paused")

    [member] = [each for each in fleet.members if each.process.pid == leader.pid]
    member.kill()
    # What the leader had set is gone, and what it had paused runs.
    bouncer.console("RELOAD")
    bouncer.console("RESUME app")
    wait_for(lambda: bouncer.setting("default_pool_size") == "7", TTL)
    wait_for(lambda: [row["paused"] for row in bouncer.console("SHOW DATABASES") if row["name"] == "app"] == [1])
    wait_for(lambda: [each.pid for each in leaders()] not in ([], [leader.pid]))
    commands.send("resume", TARGET, "ann")
    wait_for(lambda: not view().paused and len(leaders()) == 1, TTL)
    [other] = [each for each in fleet.members if each.process.poll() is None]
    assert other.end()["failed"] == []
    # Who ends in good order leaves no connection behind.
    wait_for(lambda: bouncer.consoles() == 0)


@pytest.mark.long
def test_a_kill_is_done_once_though_its_leader_dies_and_the_pause_after_it_is_kept(
    fleet: TestFleet, bouncer: Bouncer
) -> None:
    [leader] = wait_for(leaders)
    with bouncer.client() as client:
        client.execute("SELECT 1")
        command = commands.send("kill", TARGET, "ann")
        said = wait_for(lambda: Acknowledgement.objects.filter(command=command).exclude(state="running").first())
        assert (said.process, said.state) == (leader.uid, "done")
        with pytest.raises(psycopg.Error):
            client.execute("SELECT 1")
    [member] = [each for each in fleet.members if each.process.pid == leader.pid]
    member.kill()
    bouncer.console("RESUME app")
    with bouncer.client() as back:
        back.execute("SELECT 1")
        wait_for(lambda: [each.pid for each in leaders()] not in ([], [leader.pid]), 2 * TTL)
        wait_for(lambda: [row["paused"] for row in bouncer.console("SHOW DATABASES") if row["name"] == "app"] == [1])
        back.execute("SELECT 1")
    assert [each.process for each in Acknowledgement.objects.filter(command=command)] == [leader.uid]
    commands.send("resume", TARGET, "ann")
    wait_for(lambda: not view().paused and len(leaders()) == 1, 2 * TTL)


@pytest.mark.long
@pytest.mark.parametrize("ordered", [False, True])
def test_what_a_leader_that_dies_within_a_kill_had_disabled_is_enabled_unless_an_order_disables_it(
    fleet: TestFleet, bouncer: Bouncer, ordered: bool
) -> None:
    def state() -> tuple[int, int]:
        return next(
            (row["paused"], row["disabled"]) for row in bouncer.console("SHOW DATABASES") if row["name"] == "app"
        )

    [leader] = wait_for(leaders)
    [member] = [each for each in fleet.members if each.process.pid == leader.pid]
    with socket.create_connection(("127.0.0.1", bouncer.port)) as login:
        words = b"\0\3\0\0user\0" + str(bouncer.behind.username).encode() + b"\0database\0app\0\0"
        login.sendall((len(words) + 4).to_bytes(4, "big") + words)
        assert login.recv(1) == b"R"  # it asks for a password, and whoever kills waits for that
        command = commands.send("kill", TARGET, "ann")
        wait_for(lambda: state() == (1, 1))
        member.kill()
    assert state() == (1, 1)
    if ordered:
        commands.send("disable", TARGET, "ann")
    answers = Acknowledgement.objects.filter(command=command)
    said = wait_for(lambda: answers.exclude(state="running").first(), 3 * TTL)
    assert (said.state, "ended in the middle of it" in said.message) == ("failed", True)
    assert state() == (1, int(ordered))
    if ordered:
        enabling = commands.send("enable", TARGET, "ann")
        wait_for(lambda: Acknowledgement.objects.filter(command=enabling, state="done").exists())
    # Killed is paused until a resume, whoever leads.
    commands.send("resume", TARGET, "ann")
    wait_for(lambda: state() == (0, 0))
    with bouncer.client() as client:
        client.execute("SELECT 1")


@pytest.mark.long
def test_a_leader_that_was_frozen_does_nothing_when_it_wakes(fleet: TestFleet, bouncer: Bouncer) -> None:
    [leader] = wait_for(leaders)
    os.kill(leader.pid, signal.SIGSTOP)
    try:
        values = PGBOUNCER.make_spec({"max_size": 5}).to_dict()
        profiles.save_profile(PoolProfile(target=TARGET, **values), "ann")
        wait_for(lambda: bouncer.setting("default_pool_size") == "5", TTL + 2)
        wait_for(lambda: any(each.pid != leader.pid for each in leaders()))
    finally:
        os.kill(leader.pid, signal.SIGCONT)
    wait_for(lambda: [each.pid for each in leaders()] not in ([], [leader.pid]) and len(leaders()) == 1)
    assert bouncer.setting("default_pool_size") == "5"
    wait_for(lambda: bouncer.consoles() == 1)


@pytest.mark.long
def test_while_redis_is_away_rows_say_who_leads(
    transactional_db: None,
    postgres: EmbeddedPostgres,
    make_redis: Callable[[], EmbeddedRedis],
    bouncer: Bouncer,
    settings: Any,
) -> None:  # P11
    server = make_redis()
    declared = {"KIND": "pgbouncer", "URL": bouncer.console_url(), "DATABASES": ["app"]}
    poolmgr = {**_intervals(), "REDIS_URL": server.url(), "TARGETS": {TARGET: declared}}
    settings.POOLMGR = {**poolmgr, "AGENT": False}
    without_agent()
    fleet = TestFleet(postgres, poolmgr)
    try:
        fleet.start(2, TEST_THREADS="1")
        wait_for(leaders)
        server.stop()
        profiles.save_profile(PoolProfile(target=TARGET, **PGBOUNCER.make_spec({"max_size": 4}).to_dict()), "ann")
        wait_for(lambda: bouncer.setting("default_pool_size") == "4", 2 * TTL)
        wait_for(lambda: read_fleet().store == "database" and len(leaders()) == 1, 2 * TTL)
        server.restart()
        wait_for(lambda: read_fleet().store == "redis" and len(leaders()) == 1, 3 * TTL)
        wait_for(lambda: bouncer.consoles() == 1)
    finally:
        fleet.stop()


@pytest.mark.long
def test_who_leads_and_ends_is_followed_at_once(fleet: TestFleet, bouncer: Bouncer) -> None:
    [leader] = wait_for(leaders)
    [member] = [each for each in fleet.members if each.process.pid == leader.pid]
    member.end()
    # Long before its lead would have been over.
    wait_for(lambda: [each.pid for each in leaders()] not in ([], [leader.pid]), TTL / 3)


@pytest.mark.long
def test_a_site_without_any_pool_of_ours_begins_with_its_first_request(
    bouncer: Bouncer, postgres: EmbeddedPostgres, settings: Any, make_process: Callable[[str], Any]
) -> None:
    program = textwrap.dedent(
        f"""
        import django
        from django.conf import settings
        settings.configure(
            INSTALLED_APPS=["django.contrib.contenttypes", "poolmgr"],
            DATABASES={{"default": {{
                "ENGINE": "django.db.backends.postgresql", "NAME": {str(django_settings.DATABASES["default"]["NAME"])!r},
                **{_place(postgres)!r},
            }}}},
            POOLMGR={{"NAMESPACE": "alone", "HEARTBEAT_INTERVAL": 0.3, "TARGETS": {{"bouncer": {{
                "KIND": "pgbouncer", "URL": {bouncer.console_url()!r}, "DATABASES": ["app"], "POOL": {{"max_size": 6}},
            }}}}}},
        )
        django.setup()
        from django.core.signals import request_started
        request_started.send(None)
        input()
        """
    )
    process = make_process(program)
    wait_for(lambda: bouncer.setting("default_pool_size") == "6" or process.poll() is not None, 30)
    assert process.poll() is None


def _place(postgres: EmbeddedPostgres) -> dict[str, Any]:
    got = django_settings.DATABASES["default"]
    return {key: str(got[key]) for key in ("USER", "PASSWORD", "HOST", "PORT")}


@pytest.fixture
def make_process() -> Iterator[Callable[[str], Any]]:
    made: list[subprocess.Popen[bytes]] = []

    def make(program: str) -> Any:
        made.append(subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE))
        return made[-1]

    yield make
    for each in made:
        each.kill()
        each.wait(10)
