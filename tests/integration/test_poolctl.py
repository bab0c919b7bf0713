"""``manage.py poolctl`` as an operator without a browser uses it, on a process of the real fleet."""

from __future__ import annotations

import io
import json
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from django.core.management import CommandError

from poolmgr.control.reporting.fleet import read_fleet
from poolmgr.models import Event, PoolProfile
from tests.agents import command, without_agent
from tests.integration.control_fleet import Member, TestFleet
from tests.waiting import until

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def member(postgres: Any, redis_server: Any, settings: Any) -> Iterator[Member]:
    """A process with one thread, which sleeps at the server for long."""
    poolmgr = {"NAMESPACE": f"t{uuid.uuid4().hex[:8]}", "POLL_INTERVAL": 0.5, "HEARTBEAT_INTERVAL": 0.3}
    poolmgr["REDIS_URL"] = redis_server.url()
    without_agent()
    settings.POOLMGR = {**poolmgr, "AGENT": False}
    fleet = TestFleet(postgres, {**poolmgr, "AGENT": True})
    yield fleet.start(1, TEST_THREADS="1", TEST_SLEEP="20")[0]
    fleet.stop()


def poolctl(*arguments: str) -> str:
    said = io.StringIO()
    command("poolctl", *arguments, stdout=said, no_color=True)
    return said.getvalue()


def holder() -> dict[str, Any]:
    """Who sleeps there, as programs are told."""

    def sleeping() -> dict[str, Any] | None:
        told = json.loads(poolctl("holders", "default", "--json"))["holders"]
        return next((each for each in told if each["state"] == "running"), None)

    return until(sleeping, "the holder", 20)


def test_an_operator_sees_who_holds_and_why_and_acts_on_it(member: Member) -> None:  # P10
    held = holder()
    name = held["name"]
    assert held["process"]["uid"] == name.partition("@")[2]
    assert name in poolctl("holders")
    told = json.loads(poolctl("status", "--json"))
    [found] = [each for each in told["targets"] if each["target"] == "default"]
    assert (found["verdict"]["code"], found["roles"][0]["used"]) == ("ok", 1)
    lines = poolctl("status").splitlines()
    assert lines[0].split() == ["STATE", "TARGET", "ROLE", "USED", "IDLE", "WAITING", "FULL"]
    assert lines[1].split()[:3] == ["ok", "default", found["roles"][0]["role"]]
    assert "in query_on" in poolctl("stack", "default", name)
    assert poolctl("cancel", "default", name, "--author", "ann") == "Done: it was cancelled.\n"
    until(lambda: holder()["name"] != name, "the next statement")
    with pytest.raises(CommandError, match="Nobody holds a connection to 'default' by the name"):
        poolctl("cancel", "default", name)
    event = Event.objects.get(kind="command")
    assert (event.author, event.message.endswith(": cancelled")) == ("ann", True)
    assert "ann" in poolctl("events")
    assert "canceling statement due to user request" in member.end()["failed"][0]


@pytest.mark.long
def test_settings_and_orders_reach_the_fleet_and_what_makes_no_sense_is_refused(member: Member) -> None:  # P5
    holder()
    said = poolctl("set", "default", "max_size=7", "--reason", "more traffic", "--author", "ann")
    assert said.startswith("Saved default (any role), revision 1: ")
    until(lambda: read_fleet().targets[0].max_size == 7, "the edit")
    assert "max_size 7 -> 8" in poolctl("set", "default", "max_size=8", "--author", "ann")
    assert "nothing was changed" in poolctl("set", "default", "max_size=8")
    with pytest.raises(CommandError, match="max_size: 0 is not between 1 and 10000"):
        poolctl("set", "default", "max_size=0")
    with pytest.raises(CommandError, match="Maxsize: no such setting; there are pool_mode, min_size, max_size"):
        poolctl("set", "default", "maxsize=3")
    with pytest.raises(CommandError, match="There is no target 'defualt'; there are default"):
        poolctl("pause", "defualt")
    assert PoolProfile.objects.get(target="default").max_size == 8
    poolctl("pause", "default", "--author", "ann")
    until(lambda: "Paused by ann for" in poolctl("status"), "the pause")
    why = poolctl("why", "default")
    assert "default is warning: Paused by ann" in why
    assert "Resume, if the work that it was paused for is done" in why
    place = f"{read_fleet().processes[0].host}:{read_fleet().processes[0].pid}"
    assert "in process" in poolctl("resume", "default", "--process", place)
    until(lambda: "Paused" not in poolctl("status"), "the resume")
