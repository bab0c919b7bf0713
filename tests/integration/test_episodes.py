"""Episodes of real fleets: whoever leads keeps them, whoever follows goes on, and none is lost with the control database."""

from __future__ import annotations

import json
import re
import signal
import time
import uuid
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import Any

import psycopg
import pytest
from django.utils import timezone
from msgspec.structs import replace

from poolmgr.control.editing import profiles
from poolmgr.control.reporting.fleet import read_fleet
from poolmgr.control.store import get_store
from poolmgr.control.watching import records
from poolmgr.control.watching.watch import LEAD, MAX_NOTE, Watch
from poolmgr.metrics import episodes
from poolmgr.metrics.snapshot import PoolSnapshot
from poolmgr.models import Episode, Event, PoolProfile
from poolsite.demo.servers import EmbeddedPostgres, EmbeddedRedis

from .console import beat, own_fleet
from .control_fleet import Member, TestFleet, wait_for

#: Four threads for one connection that each wants for longer than the others wait.
FULL = {
    "TEST_POOL": json.dumps({"min_size": 1, "max_size": 1, "connection_timeout": 0.5}),
    "TEST_THREADS": "4",
    "TEST_SLEEP": "0.7",
}
CALM = {"TEST_THREADS": "0"}


@pytest.fixture
def make_fleet(transactional_db: None, postgres: EmbeddedPostgres, settings: Any) -> Iterator[Callable[..., TestFleet]]:
    made: list[TestFleet] = []

    def make(**more: Any) -> TestFleet:
        poolmgr = {"NAMESPACE": f"t{uuid.uuid4().hex[:8]}", "POLL_INTERVAL": 0.5, "HEARTBEAT_INTERVAL": 0.3, **more}
        settings.POOLMGR = {**poolmgr, "AGENT": False}
        made.append(TestFleet(postgres, poolmgr))
        return made[-1]

    yield make
    for fleet in made:
        fleet.stop()


def test_whoever_keeps_the_episodes_deletes_what_is_old_without_celery(
    transactional_db: None, settings: Any, redis_server: EmbeddedRedis
) -> None:
    own_fleet(settings, redis_server)
    for age in (89, 91):
        event = Event.objects.create(kind="process", message=f"{age} days ago")
        Event.objects.filter(pk=event.pk).update(at=timezone.now() - timedelta(days=age))
    store, watch = get_store(), Watch("keeper-1")
    for _ in range(2):
        watch.turn(store)
        watch.tend(store)
    assert Event.objects.count() == 2, "whoever has just begun has better things to do"
    watch._prune_due = 0.0
    watch.tend(store)
    assert [each.message for each in Event.objects.all()] == ["89 days ago"]


def episode(family: str, **more: Any) -> Episode | None:
    return Episode.objects.filter(family=family, **more).first()


def leads(member: Member) -> bool:
    """Whether this process keeps the episodes, now that it was asked to if nobody does."""
    uid = next(beat.uid for beat in read_fleet().processes if beat.pid == member.process.pid)
    return bool(get_store().lead(LEAD, uid, 3.0))


def noted() -> str:
    return get_store().notes((LEAD,), MAX_NOTE)[0]


@pytest.mark.parametrize(
    "redis", [pytest.param(True, id="redis"), pytest.param(False, id="rows", marks=pytest.mark.long)]
)
def test_an_exhausted_pool_leaves_an_episode(  # P11
    make_fleet: Callable[..., TestFleet], redis_server: EmbeddedRedis, redis: bool
) -> None:
    fleet = make_fleet(**({"REDIS_URL": redis_server.url()} if redis else {}))
    fleet.start(1, **FULL)
    found = wait_for(lambda: episode("exhausted", state="critical", figures__failed__gt=0, figures__waiting__gt=0), 20)
    assert (found.target, found.ended_at) == ("default", None)
    profiles.save_profile(PoolProfile(target="default", min_size=1, max_size=8), "operator")
    wait_for(lambda: episode("exhausted", ended_at__isnull=False), 20)
    (found,) = Episode.objects.filter(family="exhausted")
    assert found.began_at < found.ended_at
    assert found.figures["failed"] >= 1
    assert 1 <= found.figures["waiting"] <= 3
    assert 0 < found.figures["longest_wait"] < 2
    assert found.place == "the command process"
    # Of its worst moment, which may be that before the first of them fails.
    assert re.search(
        "got no connection in the last minute|3 requests wait, the longest for 0.[45] s of 0.5 s", found.sentence
    )


@pytest.mark.long
def test_an_episode_outlives_its_leader(make_fleet: Callable[..., TestFleet], redis_server: EmbeddedRedis) -> None:
    fleet = make_fleet(REDIS_URL=redis_server.url(), PROCESS_TTL=3)
    (leader,) = fleet.start(1, **CALM)
    wait_for(lambda: read_fleet().processes)
    wait_for(lambda: leads(leader))
    fleet.start(1, **FULL)
    began = wait_for(lambda: episode("exhausted", state="critical"), 20)
    leader.kill()
    # Which the next leader notices too, without Celery.
    wait_for(lambda: Event.objects.filter(message__contains="ended without a word").exists(), 20)
    wait_for(lambda: (e := episode("exhausted")) and e.seen_at > began.seen_at, 20)
    profiles.save_profile(PoolProfile(target="default", min_size=1, max_size=8), "operator")
    wait_for(lambda: episode("exhausted", ended_at__isnull=False), 20)
    (found,) = Episode.objects.filter(family="exhausted")
    assert found.pk == began.pk
    assert found.began_at == began.began_at


@pytest.mark.long
def test_what_happens_while_the_control_database_is_down_is_written_later(  # P11
    make_fleet: Callable[..., TestFleet], redis_server: EmbeddedRedis, outage_server: EmbeddedPostgres
) -> None:
    fleet = make_fleet(REDIS_URL=redis_server.url(), PROCESS_TTL=3)
    url = outage_server.superuser_url("site")
    first, second = fleet.start(2, **CALM, DATABASE_URL=outage_server.url("site"))
    wait_for(lambda: len(read_fleet().processes) == 2)
    leader = wait_for(lambda: next((member for member in (first, second) if leads(member)), None))
    with psycopg.connect(url, autocommit=True) as chief:
        chief.execute("DELETE FROM poolmgr_episode")
    outage_server.stop("immediate")
    try:
        wait_for(lambda: "control_lost" in noted(), 20)
        # What begins and ends meanwhile only this leader sees.
        beat(PoolSnapshot(target="elsewhere", status="closed"), uid="a-visitor")
        wait_for(lambda: "elsewhere" in noted(), 20)
        get_store().forget("a-visitor")
        wait_for(lambda: '"ended"' in noted(), 20)
        leader.kill()
        wait_for(lambda: any(leads(member) for member in (first, second) if member is not leader), 20)
    finally:
        outage_server.restart()

    def rows() -> list[tuple[Any, ...]]:
        with psycopg.connect(url, autocommit=True) as chief:
            return chief.execute(
                "SELECT family, target, state, ended_at >= began_at FROM poolmgr_episode"
                " WHERE family IN ('closed', 'control_lost') ORDER BY family"
            ).fetchall()

    whole = [("closed", "elsewhere", "unknown", True), ("control_lost", "", "critical", True)]
    wait_for(lambda: rows() == whole, 30)


@pytest.mark.long
def test_backends_that_are_killed_and_a_lost_redis_are_episodes(
    make_fleet: Callable[..., TestFleet], make_redis: Callable[[], EmbeddedRedis], postgres: EmbeddedPostgres
) -> None:
    server = make_redis()
    fleet = make_fleet(REDIS_URL=server.url(), PROCESS_TTL=3)
    pool = json.dumps({"min_size": 3, "max_size": 3})
    fleet.start(2, TEST_THREADS="0", TEST_POOL=pool)
    wait_for(lambda: [p.pools[0].idle for p in read_fleet().processes if p.pools] == [3, 3], 20)
    pids = [pid for beat in read_fleet().processes for pid in beat.pools[0].backend_pids]
    with psycopg.connect(postgres.superuser_url(), autocommit=True) as chief:
        chief.execute("SELECT pg_terminate_backend(pid) FROM unnest(%s) AS pid", [pids])
    found = wait_for(lambda: episode("connections_lost"), 20)
    assert found.target == "default"
    # Those that an agent has just borrowed fail in its hands, and are not found.
    wait_for(lambda: (e := episode("connections_lost")) and e.figures["lost"] >= 4 and e.ended_at, 20)
    server.stop()
    wait_for(lambda: episode("store_lost", ended_at=None), 30)
    server.restart()
    wait_for(lambda: episode("store_lost", ended_at__isnull=False), 30)


def test_what_fits_into_no_row_costs_itself(transactional_db: None, caplog: pytest.LogCaptureFixture) -> None:
    good = episodes.Episode("default", "paused", "paused", "warning", "It is paused.", began=1e9, seen=1e9 + 5)
    records.save([replace(good, family="f" * 31), good])
    assert [row.family for row in Episode.objects.all()] == ["paused"]
    assert "An episode of 'default' can't be kept: The control database can't be used: " in caplog.text
    # And to write it again, as the next leader may, changes it.
    records.save([replace(good, ended=1e9 + 7)])
    (row,) = Episode.objects.all()
    assert row.ended_at == datetime.fromtimestamp(1e9 + 7, timezone.now().tzinfo)


@pytest.mark.long
def test_a_leader_that_was_frozen_leaves_the_episodes_to_the_next(  # P11
    make_fleet: Callable[..., TestFleet], redis_server: EmbeddedRedis
) -> None:
    fleet = make_fleet(REDIS_URL=redis_server.url(), PROCESS_TTL=3)
    (frozen,) = fleet.start(1, **CALM)
    wait_for(lambda: read_fleet().processes)
    wait_for(lambda: leads(frozen))
    (other,) = fleet.start(1, **FULL)
    began = wait_for(lambda: episode("exhausted", state="critical"), 20)
    frozen.process.send_signal(signal.SIGSTOP)
    try:
        wait_for(lambda: (e := episode("exhausted")) and e.seen_at > began.seen_at + timedelta(seconds=2), 20)
        assert leads(other)
    finally:
        frozen.process.send_signal(signal.SIGCONT)
    awake = time.time()
    wait_for(lambda: any(beat.pid == frozen.process.pid and beat.at > awake + 2 for beat in read_fleet().processes))
    assert leads(other)
    profiles.save_profile(PoolProfile(target="default", min_size=1, max_size=8), "operator")
    wait_for(lambda: episode("exhausted", ended_at__isnull=False), 20)
    assert [row.pk for row in Episode.objects.filter(family="exhausted")] == [began.pk]
