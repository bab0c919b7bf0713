"""``manage.py poolcheck`` as an operator and a monitoring program run it."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import psutil
import psycopg
import pytest

from poolmgr.control.reporting.fleet import read_fleet
from poolmgr.management.commands.poolcheck import told_time
from poolmgr.models import PoolProfile
from poolmgr.pools import registry
from poolsite.demo.servers import EmbeddedPostgres, EmbeddedRedis
from tests.sampling import first_always, with_all

from .control_fleet import TestFleet, wait_for

#: Seconds that the interpreter's start and end may take on a busy machine, which are not the check's.
START = 20


def poolcheck(environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "manage.py", "poolcheck", *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)


@pytest.fixture
def environment(site_environment: dict[str, str], redis_server: EmbeddedRedis) -> dict[str, str]:
    poolmgr = {"REDIS_URL": redis_server.url(), "NAMESPACE": f"t{uuid.uuid4().hex[:8]}", "HEARTBEAT_INTERVAL": 0.3}
    return {
        **site_environment,
        "DJANGO_SETTINGS_MODULE": "tests.integration.control_settings",
        "TEST_POOLMGR": json.dumps(poolmgr),
    }


def test_all_is_well(environment: dict[str, str]) -> None:
    done = poolcheck(environment)
    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].split()[:4] == ["TARGET", "KIND", "STATE", "PROCESSES"]
    assert lines[1].split()[:3] == ["default", "postgresql", "ok"]
    assert lines[-1].startswith("OK: ")
    assert "\x1b" not in done.stdout
    # The table and the sentence say the same of the server.
    used, room = re.findall(r"(\d+)/(\d+) \(\d+ ours\)$", lines[1])[0]
    assert f"default: {used} of {room} server connections used." in lines


@pytest.mark.parametrize(
    ("seconds", "told"),
    [
        (None, "-"),
        (0.0, "0 us"),
        (0.00000968, "9.68 us"),
        (0.00045, "450 us"),
        (0.0299, "29.9 ms"),
        (0.9996, "1 s"),
        (7.92, "7.92 s"),
        (86400.0, "86400 s"),
    ],
)
def test_a_time_is_told_in_the_unit_that_people_would_take(seconds: float | None, told: str) -> None:
    assert told_time(seconds) == told


@pytest.mark.long
def test_fleet_is_read_and_json_is_for_programs(
    environment: dict[str, str], postgres: EmbeddedPostgres, settings: Any
) -> None:
    settings.POOLMGR = {**json.loads(environment["TEST_POOLMGR"]), "AGENT": False}
    fleet = TestFleet(postgres, json.loads(environment["TEST_POOLMGR"]))
    try:
        fleet.start(2)
        wait_for(lambda: len(read_fleet().processes) == 2)
        # This process has no agent here: with a connection it would be one that holds what it doesn't report.
        registry.close("default")
        told: list[Any] = []

        # On a busy machine a connect may take as long as a warning is worth, for the minute after it too.
        fine = [(0, "ok", "redis"), (1, "warning", "redis")]

        def is_read() -> bool:
            done = poolcheck(environment, "--json")
            told.append(json.loads(done.stdout))
            return (done.returncode, told[-1]["state"], told[-1]["store"]) in fine

        wait_for(is_read, 30)
        (target,) = told[-1]["targets"]
        assert target["fleet"]["processes"] >= 2
        assert target["check"]["server_max"] == 100
        assert target["check"]["ours"] >= 2
        assert target["fleet"]["wait_p95"] is not None
    finally:
        fleet.stop()


@pytest.mark.long
def test_unknown_target(environment: dict[str, str]) -> None:
    done = poolcheck(environment, "defualt")
    assert done.returncode == 3
    assert "There is no target 'defualt'; known are: default." in done.stdout


def with_url(environment: dict[str, str], **parts: Any) -> dict[str, str]:
    url = urlsplit(environment["DATABASE_URL"])
    given = {"user": url.username, "password": url.password, "host": url.hostname, "port": url.port, **parts}
    made = "postgresql://{user}:{password}@{host}:{port}".format(**given) + url.path
    return {**environment, "DATABASE_URL": made}


@pytest.mark.parametrize(
    ("parts", "said"),
    first_always(
        ({"password": "wrong-secret"}, "The server refuses the password"),
        ({"host": "nowhere.invalid"}, "The host name can't be resolved"),
        ({"port": 1}, "Nothing listens at the address"),
    ),
)
def test_each_trouble_has_its_own_sentence(environment: dict[str, str], parts: dict[str, Any], said: str) -> None:  # P9
    began = time.monotonic()
    done = poolcheck(with_url(environment, **parts), "--timeout", "3")
    assert time.monotonic() - began < 3 + START
    assert done.returncode == 2
    assert f"{said}: " in done.stdout
    assert "wrong-secret" not in done.stdout + done.stderr  # P13


@pytest.mark.long
def test_database_that_does_not_exist(environment: dict[str, str]) -> None:  # P9
    done = poolcheck({**environment, "DATABASE_URL": environment["DATABASE_URL"].rsplit("/", 1)[0] + "/nothing"})
    assert done.returncode == 2
    assert "The database does not exist: " in done.stdout


@pytest.mark.long
def test_validation_query_of_the_profile(environment: dict[str, str]) -> None:
    PoolProfile.objects.create(target="default", validation_query="SELECT nothing_of_that_name")
    done = poolcheck(environment)
    assert done.returncode == 2
    assert "The validation query fails: the server refuses with SQLSTATE 42703 (UndefinedColumn)" in done.stdout


@pytest.mark.long
def test_full_server(environment: dict[str, str], make_postgres: Callable[..., EmbeddedPostgres]) -> None:  # P9
    server = make_postgres(max_connections=6)
    url = server.create_database("site")
    holders: list[psycopg.Connection[Any]] = []
    refused = 0
    # Whoever was there before may still be on their way out, and leave room in a moment.
    while refused < 20:
        try:
            holders.append(psycopg.connect(url))
        except psycopg.OperationalError:
            refused += 1
            time.sleep(0.02)
    done = poolcheck({**environment, "DATABASE_URL": url})
    for each in holders:
        each.close()
    assert done.returncode == 2
    assert "The server has no connection slot left: " in done.stdout


def test_silent_server_is_told_within_the_timeout(  # P8
    environment: dict[str, str], make_postgres: Callable[..., EmbeddedPostgres]
) -> None:
    server = make_postgres()
    url = server.create_database("site")
    stopped = [server.pid, *(child.pid for child in psutil.Process(server.pid).children(recursive=True))]
    for pid in stopped:
        os.kill(pid, signal.SIGSTOP)
    try:
        began = time.monotonic()
        done = poolcheck({**environment, "DATABASE_URL": url}, "--timeout", "1")
        took = time.monotonic() - began
    finally:
        for pid in reversed(stopped):
            os.kill(pid, signal.SIGCONT)
    assert done.returncode == 2
    assert "The server does not answer within 1 s" in done.stdout
    assert took < 1 + START


@pytest.mark.long
def test_not_migrated(environment: dict[str, str], make_postgres: Callable[..., EmbeddedPostgres]) -> None:  # P1
    url = make_postgres().create_database("site")
    done = poolcheck({**environment, "DATABASE_URL": url})
    assert done.returncode == 1
    assert "run manage.py migrate" in done.stdout
    assert "default  postgresql  ok" in done.stdout


@pytest.mark.long
def test_redis_that_is_down_is_a_warning(environment: dict[str, str]) -> None:  # P11
    poolmgr = {**json.loads(environment["TEST_POOLMGR"]), "REDIS_URL": "redis://:secret@127.0.0.1:1/0"}
    done = poolcheck({**environment, "TEST_POOLMGR": json.dumps(poolmgr)})
    assert done.returncode == 1
    assert "WARNING: Redis at 127.0.0.1:1 can't be reached: heartbeats go through the control database" in done.stdout
    assert "secret" not in done.stdout + done.stderr


@pytest.mark.long
def test_watch_until_interrupted(environment: dict[str, str]) -> None:
    command = [sys.executable, "manage.py", "poolcheck", "--json", "--watch", "0.2"]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        rounds = [json.loads(process.stdout.readline()) for _ in range(3)]
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=20)
    assert process.returncode == 0
    assert [each["state"] for each in rounds] == ["ok"] * 3
    assert rounds[0]["at"] < rounds[1]["at"] < rounds[2]["at"]


@pytest.mark.long
def test_reader_that_goes_away_ends_the_watch_quietly(environment: dict[str, str]) -> None:
    command = [sys.executable, "manage.py", "poolcheck", "--json", "--watch", "0.2"]
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        json.loads(process.stdout.readline())
        process.stdout.close()
        assert process.wait(20) == 141
        assert process.stderr.read() == ""


@pytest.mark.long
def test_beats_in_redis_are_told_while_the_control_database_is_silent(
    environment: dict[str, str],
    make_postgres: Callable[..., EmbeddedPostgres],
    postgres: EmbeddedPostgres,
    settings: Any,
) -> None:
    settings.POOLMGR = {**json.loads(environment["TEST_POOLMGR"]), "AGENT": False}
    server = make_postgres()
    url = server.create_database("site")
    fleet = TestFleet(postgres, json.loads(environment["TEST_POOLMGR"]))
    try:
        fleet.start(1, DATABASE_URL=url)
        wait_for(lambda: read_fleet().processes)
        # Who has a connection goes on; nobody gets a new one.
        os.kill(server.pid, signal.SIGSTOP)
        done = poolcheck({**environment, "DATABASE_URL": url}, "--timeout", "2")
        assert done.returncode == 2
        assert done.stdout.splitlines()[1].split()[:4] == ["default", "postgresql", "critical", "1"]
        assert "No live process" not in done.stdout
        assert "The control database does not answer within 2 s." in done.stdout
    finally:
        os.kill(server.pid, signal.SIGCONT)
        fleet.stop()


@pytest.mark.long
def test_fleet_that_nobody_can_read_is_not_called_empty(
    environment: dict[str, str], make_postgres: Callable[..., EmbeddedPostgres]
) -> None:
    server = make_postgres()
    url = server.create_database("site")
    poolmgr = {**json.loads(environment["TEST_POOLMGR"]), "REDIS_URL": None}
    os.kill(server.pid, signal.SIGSTOP)
    try:
        silent = {**environment, "DATABASE_URL": url, "TEST_POOLMGR": json.dumps(poolmgr)}
        done = poolcheck(silent, "--timeout", "1")
    finally:
        os.kill(server.pid, signal.SIGCONT)
    assert done.returncode == 2
    assert done.stdout.splitlines()[1].split()[:4] == ["default", "postgresql", "critical", "-"]
    assert "default: The fleet can't be read." in done.stdout
    assert "No live process" not in done.stdout


@pytest.mark.long
@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (
            {"REDIS_URL": "redis://:hunter2@h?foo=bar"},
            "UNKNOWN: POOLMGR['REDIS_URL'] is a value that is not shown, but ",
        ),
        *with_all(({"POLL_INTERVALL": 5}, "UNKNOWN: POOLMGR has the unknown key 'POLL_INTERVALL'; allowed are ")),
    ],
)
def test_wrong_setting_is_told_in_its_own_words(environment: dict[str, str], wrong: dict[str, Any], said: str) -> None:
    poolmgr = {**json.loads(environment["TEST_POOLMGR"]), **wrong}
    began = time.monotonic()
    done = poolcheck({**environment, "TEST_POOLMGR": json.dumps(poolmgr)}, "--timeout", "50")
    assert time.monotonic() - began < START  # half the timeout is how long a check waits for its query
    assert done.returncode == 3
    assert said in done.stdout
    assert "default: The fleet can't be read." in done.stdout
    assert "Traceback" not in done.stderr
    assert "hunter2" not in done.stdout + done.stderr  # P13


@pytest.mark.long
@pytest.mark.parametrize("bad", first_always("0", "soon", "-1", "nan"))
def test_bad_seconds(environment: dict[str, str], bad: str) -> None:
    done = poolcheck(environment, f"--timeout={bad}")
    assert done.returncode != 0
    assert "is not a number of seconds from 0.1 to 3600" in done.stderr
