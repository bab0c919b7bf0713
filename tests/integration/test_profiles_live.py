"""Profiles and commands reach every process while it works."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from poolmgr.control.commanding import commands
from poolmgr.control.editing import profiles
from poolmgr.control.reporting.fleet import read_fleet
from poolmgr.control.store import get_store
from poolmgr.metrics.snapshot import ProcessBeat
from poolmgr.models import PoolProfile
from poolsite.demo.servers import EmbeddedPostgres, EmbeddedRedis
from tests.sampling import first_always

from .control_fleet import Member, TestFleet, wait_for

POLL = 1.0


@pytest.fixture(params=first_always("redis", "database"))
def fleet(
    request: pytest.FixtureRequest, transactional_db: None, postgres: EmbeddedPostgres, settings: Any
) -> Iterator[TestFleet]:
    poolmgr: dict[str, Any] = {
        "NAMESPACE": f"t{uuid.uuid4().hex[:8]}",
        "POLL_INTERVAL": POLL,
        "HEARTBEAT_INTERVAL": 0.5,
    }
    if request.param == "redis":
        server: EmbeddedRedis = request.getfixturevalue("redis_server")
        # With the push, the poll is never what brings a change.
        poolmgr |= {"REDIS_URL": server.url(), "POLL_INTERVAL": 60.0}
    settings.POOLMGR = {**poolmgr, "AGENT": False}
    made = TestFleet(postgres, poolmgr)
    yield made
    made.stop()


def allowed(fleet: TestFleet) -> float:
    """How long a change may take: P5's second, or the poll and what the machine takes to come round to it."""
    return 1.0 if "REDIS_URL" in fleet.poolmgr else POLL + 0.5


def everywhere(members: list[Member], since: float, **values: Any) -> list[float]:
    """Seconds from ``since`` until each process said that ``values`` hold."""
    wait_for(lambda: all(member.first(since, **values) for member in members), 15)
    return [(member.first(since, **values) or 0.0) - since for member in members]


def assert_nothing_failed(members: list[Member]) -> None:
    for member in members:
        last = member.end()
        assert last["failed"] == []
        assert last["worked"] > 5


def in_fleet(count: int) -> Any:
    return wait_for(lambda: (seen := read_fleet()) and len(seen.processes) == count and seen, 15)


def test_saved_profile_is_in_force_everywhere_in_time(fleet: TestFleet) -> None:  # P5
    members = fleet.start(3)
    in_fleet(3)
    profile = PoolProfile(target="default", min_size=1, max_size=7)
    profiles.save_profile(profile, "operator")
    saved = time.time()
    took = everywhere(members, saved - 0.5, max_size=7, revision=1)
    assert max(took) - 0.5 < allowed(fleet)

    profile.max_size = 3
    profiles.save_profile(profile, "operator")
    saved = time.time()
    took = everywhere(members, saved - 0.5, max_size=3, revision=2)
    assert max(took) - 0.5 < allowed(fleet)

    view = wait_for(lambda: (v := read_fleet().targets[0]).applied == (3, 3) and v)
    assert view.profiles == (f"profile {profile.pk}",)

    profiles.delete_profile(profile, "operator")
    everywhere(members, time.time() - 0.5, profile="bootstrap", max_size=4)
    assert_nothing_failed(members)


@pytest.mark.long
@pytest.mark.parametrize("fleet", ["redis"], indirect=True)
def test_a_large_fleet_looks_at_an_edit_one_after_the_other(fleet: TestFleet) -> None:  # P5
    [member] = fleet.start(1)
    in_fleet(1)
    now = time.time()
    for n in range(40):
        get_store().beat(ProcessBeat(f"other-{n}", "web1", n + 1, "web", now, now))
    [seen] = [beat for beat in in_fleet(41).processes if beat.pools]
    wait_for(lambda: any(beat.uid == seen.uid and beat.at > seen.at for beat in read_fleet().processes))
    profile = PoolProfile(target="default", min_size=1)
    took: list[float] = []
    for size in range(5, 13):
        profile.max_size = size
        began = time.time()
        profiles.save_profile(profile, "operator")
        took += everywhere([member], began, max_size=size)
    assert max(took) < allowed(fleet)
    assert max(took) - min(took) > 0.1


@pytest.mark.long
def test_profile_for_a_role_wins_in_that_role_only(fleet: TestFleet) -> None:  # P5
    web = fleet.start(1, POOLMGR_ROLE="web")
    worker = fleet.start(1, POOLMGR_ROLE="worker")
    profiles.save_profile(PoolProfile(target="default", min_size=1, max_size=5), "operator")
    copied = profiles.duplicate_for_role(PoolProfile.objects.get(), "worker", "operator")
    copied.max_size = 9
    profiles.save_profile(copied, "operator")
    everywhere(web, 0.0, max_size=5)
    everywhere(worker, 0.0, max_size=9)
    assert {beat.role for beat in in_fleet(2).processes} == {"web", "worker"}
    wait_for(lambda: read_fleet().targets[0].applied == (2, 2))
    assert_nothing_failed(web + worker)


# The poll, which finds it, is the same with Redis; there it comes once a minute in these tests.
@pytest.mark.long
@pytest.mark.parametrize("fleet", ["database"], indirect=True)
def test_edit_in_sql_counts_too(fleet: TestFleet) -> None:  # P5
    members = fleet.start(1)
    PoolProfile.objects.create(target="default", min_size=1, max_size=5)
    everywhere(members, 0.0, max_size=5)
    PoolProfile.objects.update(max_size=6)
    everywhere(members, 0.0, max_size=6)
    wait_for(lambda: read_fleet().targets[0].applied == (1, 1))
    # Rows that no form would let through: one target's is refused, and what was valid stays in force.
    PoolProfile.objects.update(max_size=0)
    PoolProfile.objects.create(target="other", min_size=1, max_size=5)
    wait_for(lambda: "max_size: 0 is not between 1 and 10000" in read_fleet().targets[0].verdict.sentence)
    assert members[0].last["max_size"] == 6
    assert_nothing_failed(members)


@pytest.mark.long
def test_recycle_replaces_every_connection_under_load(fleet: TestFleet) -> None:
    members = fleet.start(3)
    in_fleet(3)
    before = wait_for(lambda: pids(read_fleet()))
    command = commands.send("recycle", "default", "operator")
    done = wait_for(lambda: (p := commands.progress(command)).done == 3 and p, 20)
    assert (done.failed, done.total) == (0, 3)
    wait_for(lambda: not before & pids(read_fleet()), 10)
    assert_nothing_failed(members)


def pids(seen: Any) -> set[int]:
    return {pid for beat in seen.processes for pool in beat.pools for pid in pool.backend_pids}


def test_pause_holds_for_newcomers_and_resume_lets_all_go_on(fleet: TestFleet) -> None:
    members = fleet.start(2)
    in_fleet(2)
    pause = commands.send("pause", "default", "operator")
    everywhere(members, 0.0, status="paused")
    wait_for(lambda: commands.progress(pause).done == 2)
    late = fleet.start(1)
    everywhere(late, 0.0, status="paused")
    wait_for(lambda: read_fleet().targets[0].paused)
    commands.send("resume", "default", "operator")
    resumed = time.time()
    everywhere(members + late, resumed - 0.5, status="open")
    # Whoever waited was served.
    assert_nothing_failed(members)


@pytest.mark.long
def test_command_for_one_process(fleet: TestFleet) -> None:
    members = fleet.start(2)
    beats = in_fleet(2).processes
    command = commands.send("recycle", "default", "operator", beats[0].uid)
    wait_for(lambda: commands.progress(command).done == 1, 20)
    assert commands.progress(command).total == 1
    wait_for(lambda: sorted(member.last["generation"] for member in members) == [1, 2])
    assert [a.process for a in command.acknowledgements.all()] == [beats[0].uid]


@pytest.mark.long
def test_dead_process_leaves_the_fleet_and_one_that_ends_well_at_once(fleet: TestFleet) -> None:
    fleet.environment["TEST_POOLMGR"] = fleet.environment["TEST_POOLMGR"].replace("{", '{"PROCESS_TTL": 4, ', 1)
    good, killed = fleet.start(2)
    in_fleet(2)
    good.end()
    assert len(wait_for(lambda: (p := read_fleet().processes) and len(p) == 1 and p, 2)) == 1
    killed.kill()
    # This process reads with the usual time to live, where rows are judged by the reader.
    if "REDIS_URL" in fleet.poolmgr:
        wait_for(lambda: not read_fleet().processes, 8)
