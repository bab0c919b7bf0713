"""The pure parts of control: who a process is, what it follows, what it may hold."""

from __future__ import annotations

import json
import os
from typing import Any

import pytest

from poolmgr import identity
from poolmgr.control.desired import follow, wishes
from poolmgr.exceptions import ConfigurationError
from poolmgr.metrics.snapshot import Ack, Holder, PoolSnapshot, ProcessBeat
from poolmgr.models import PoolProfile
from poolmgr.pools.desired import Desired
from poolmgr.pools.spec import PoolSpec
from tests.forking import Child


@pytest.mark.parametrize(
    ("argv", "role"),
    [
        (["/venv/bin/gunicorn", "site.wsgi"], "web"),
        (["/venv/lib/python3.11/site-packages/gunicorn/__main__.py", "site.wsgi"], "web"),
        (["uvicorn", "site.asgi:application", "--workers", "2"], "web"),
        (["/usr/bin/daphne", "site.asgi"], "web"),
        (["hypercorn", "site.asgi"], "web"),
        (["manage.py", "runserver", "8001"], "web"),
        (["/venv/bin/celery", "-A", "site", "worker", "-c", "2"], "worker"),
        (["/venv/lib/celery/__main__.py", "-A", "site", "beat"], "worker"),
        (["celery", "-A", "site", "inspect", "ping"], "command"),
        (["manage.py", "migrate"], "command"),
        (["django-admin", "shell"], "command"),
        (["worker.py", "worker"], "command"),
        ([""], "command"),
        ([], "command"),
    ],
)
def test_role_from_the_command_line(argv: list[str], role: str) -> None:
    assert identity.role_of(argv) == role


def test_role_that_is_set_wins(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POOLMGR_ROLE", "worker")
    assert identity.role() == "worker"
    settings.POOLMGR = {"ROLE": "web"}
    assert identity.role() == "web"


def test_role_that_does_not_exist(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POOLMGR_ROLE", "wbe")
    with pytest.raises(ConfigurationError, match="POOLMGR_ROLE is 'wbe', but must be one of web, worker, command"):
        identity.role()


def test_uid_is_the_processs_own_after_a_fork() -> None:  # P3
    mine = identity.process_uid()
    assert identity.process_uid() == mine
    assert len(mine) <= 64
    child = Child(identity.process_uid)
    theirs = child.answer()
    assert theirs != mine
    assert f"-{child.pid}-" in theirs


def test_the_name_that_servers_show_is_the_processs_own_after_a_fork(monkeypatch: pytest.MonkeyPatch) -> None:  # P3
    monkeypatch.setenv("POOLMGR_ROLE", "worker")
    assert identity.application_name() == f"poolmgr:worker:{identity.host()}:{os.getpid()}"[:63]
    child = Child(identity.application_name)
    assert child.answer().endswith(f":{child.pid}")


@pytest.mark.parametrize("host", ["h" * 200, "größe.example.org", "häuser" * 20, "a\nb c"])
def test_the_name_that_servers_show_fits_whatever_the_host_is_called(
    monkeypatch: pytest.MonkeyPatch, host: str
) -> None:
    monkeypatch.setattr(identity, "host", lambda: host)
    name = identity.application_name()
    assert name.isascii()
    assert name.isprintable()
    assert len(name) <= 63
    assert name.startswith("poolmgr:command:")
    assert name.endswith(f":{os.getpid()}")


def test_a_role_that_does_not_exist_keeps_nobody_from_connecting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POOLMGR_ROLE", "wbe")
    assert identity.application_name().startswith("poolmgr:command:")


def profile(pk: int, role: str = "", **values: Any) -> PoolProfile:
    return PoolProfile(pk=pk, target="default", role=role, revision=pk, **values)


def test_profile_for_the_role_wins() -> None:
    rows = (profile(1), profile(2, "web"), profile(3, "worker", enabled=False))
    assert follow(rows, "web")["default"].pk == 2
    assert follow(rows, "worker")["default"].pk == 1
    assert follow(rows, "command")["default"].pk == 1
    assert follow((profile(1, enabled=False),), "web") == {}


def test_invalid_row_stops_only_its_own_target() -> None:
    good = PoolProfile(pk=8, target="other", max_size=3, revision=1)
    bad = profile(1, max_size=0)
    last = {"default": Desired(PoolSpec(max_size=5), "profile 1", 4)}
    found = wishes((bad, good), "web", last)
    assert found.desired["default"] is last["default"]
    assert found.desired["other"].spec.max_size == 3
    assert "max_size" in found.invalid["default"]
    assert "default" not in wishes((bad, good), "web", {}).desired


def test_beats_of_mixed_versions_read_each_other() -> None:
    beat = ProcessBeat(
        uid="u", host="h", pid=1, role="web", started=1.0, at=2.0, acks=(Ack(1, "done"),), problems=("p",),
        pools=(PoolSnapshot("default", holders=(Holder("t", 1.0, 2),), backend_pids=(3,)),),
    )  # fmt: skip
    assert ProcessBeat.from_json(beat.to_json()) == beat
    data = json.loads(beat.to_json())
    data["news"] = data["pools"][0]["news"] = 1
    assert ProcessBeat.from_json(json.dumps(data)) == beat
