"""Orders for a checkout in another process, by the ways there are to it, and what is said where there is none."""

from __future__ import annotations

import os
import signal
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection

from poolmgr.control.commanding.asking import ask
from poolmgr.control.inquiry import What
from poolmgr.control.reporting.fleet import read_fleet
from poolmgr.dashboard.addresses import holder_address
from poolmgr.metrics.snapshot import Holder, ProcessBeat
from tests.agents import without_agent
from tests.integration.control_fleet import Member, TestFleet
from tests.waiting import until

from .console import person, signed_in

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.long]


@pytest.fixture
def poolmgr(settings: Any) -> dict[str, Any]:
    made = {"NAMESPACE": f"t{uuid.uuid4().hex[:8]}", "POLL_INTERVAL": 0.5, "HEARTBEAT_INTERVAL": 0.3, "PROCESS_TTL": 5}
    without_agent()
    return made


@pytest.fixture
def operator() -> User:
    return person("operator", superuser=True)


@pytest.fixture
def start(poolmgr: dict[str, Any], postgres: Any, settings: Any) -> Iterator[Any]:
    """start(**poolmgr): a process with one thread, which sleeps at the server for long."""
    fleets: list[TestFleet] = []

    def begin(**more: Any) -> Member:
        settings.POOLMGR = {**poolmgr, **more, "AGENT": False}
        fleets.append(made := TestFleet(postgres, {**poolmgr, **more, "AGENT": True}))
        return made.start(1, TEST_THREADS="1", TEST_SLEEP="20")[0]

    yield begin
    for each in fleets:
        each.stop()
    with connection.cursor() as cursor:  # what nobody hears the end of
        cursor.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE query ~ 'pg_sleep.20' AND pid <> pg_backend_pid()"
        )


def found() -> tuple[ProcessBeat, Holder] | None:
    """Who sleeps there, and the process."""
    for beat in read_fleet().processes:
        for pool in beat.pools:
            for holder in pool.holders:
                if holder.state == "running":
                    return beat, holder
    return None


@pytest.mark.parametrize("way", ["redis", "rows", "redis that went away"])
def test_statement_in_another_process_is_looked_at_and_cancelled(start: Any, make_redis: Any, way: str) -> None:
    redis = None if way == "rows" else make_redis()
    member = start(REDIS_URL=None if redis is None else redis.url())
    beat, holder = until(found, "the holder")
    if way == "redis that went away":
        redis.stop()
        beat, holder = until(lambda: (them := found()) and them[0].store_lost and them, "the report in rows", 15)
    answer = ask(beat, What.LOOK, "default", holder.checkout)
    assert answer is not None
    assert any("in query_on" in call for call in answer.stack)
    answer = ask(beat, What.CANCEL, "default", holder.checkout, "operator")
    assert answer is not None
    assert answer.done
    until(lambda: (them := found()) and them[1].checkout != holder.checkout, "the next statement")
    beat, holder = until(found, "the next one")
    ended = ask(beat, What.END, "default", holder.checkout, "operator")
    assert ended is not None
    assert ended.done
    failed = member.end()["failed"]
    assert len(failed) == 2
    assert "canceling statement due to user request" in failed[0]


def test_process_that_stands_still_or_is_gone_is_said_to(start: Any, redis_server: Any, operator: User) -> None:
    member = start(REDIS_URL=redis_server.url())
    beat, holder = until(found, "the holder")
    client, address = signed_in(operator), holder_address(beat.uid, "default", holder.checkout)
    os.kill(member.process.pid, signal.SIGSTOP)
    try:
        page = client.get(address).content.decode()
        assert "has not answered in time" in page
        assert holder.thread in page  # as it has reported
        assert "Its stack now" not in page
        assert client.post(address + "cancel/").status_code == 400
        gone = until(lambda: "is gone" in (page := client.get(address).content.decode()) and page, "its end", 20)
        assert "Cancel its statement" not in gone
    finally:
        os.kill(member.process.pid, signal.SIGCONT)


@pytest.mark.parametrize("store", ["redis", "rows"])
def test_addresses_that_lead_nowhere_say_so(
    poolmgr: Any, settings: Any, redis_server: Any, operator: User, store: str
) -> None:
    settings.POOLMGR = {**poolmgr, "REDIS_URL": redis_server.url() if store == "redis" else None, "AGENT": False}
    client = signed_in(operator)
    for uid, target in (
        ("%00", "default"),
        ("x" * 3000, "y" * 3000),
        ("a", "b/c/../d"),
        ("ü", "%0a%22%3Cb%3E"),
        ("%ff", "%ff"),
    ):
        answer = client.get(f"/pools/holders/{uid}/{target}/1.2/")
        assert answer.status_code == 404, (uid, target)
        assert "<b>" not in answer.content.decode()
        assert client.post(f"/pools/holders/{uid}/{target}/1.2/end/").status_code in (400, 404)
