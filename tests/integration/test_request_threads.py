"""How many requests a process can serve at once, and which are under way: as its web server has it, or unknown."""

from __future__ import annotations

import json
import os
import urllib.request
from pathlib import Path

import pytest

from poolmgr.serving import requests
from poolmgr.serving.telling import serving
from poolmgr.serving.threads import request_threads
from tests.forking import in_child
from tests.integration.serving import gunicorn, served, uvicorn
from tests.threads import Begun
from tests.waiting import until

TOLD = "tests.integration.threads_told:application"
SYNC = ["gunicorn", TOLD, "--worker-class", "sync", "--threads", "1", "--no-control-socket", "--bind", "{address}"]
UWSGI = ["tests.quickstarts.uwsgi", "--module", TOLD, "--http-socket", "{address}", "--die-on-term", "--master"]


@pytest.mark.parametrize(
    ("command", "told"),
    [
        pytest.param(gunicorn(TOLD, threads=3), [3, 0], id="gunicorn"),
        pytest.param(SYNC, [1, 0], id="gunicorn sync", marks=pytest.mark.long),
        pytest.param([*UWSGI, "--enable-threads", "--threads", "4"], [4, 0], id="uwsgi", marks=pytest.mark.long),
        pytest.param(uvicorn("tests.integration.threads_told:asgi"), None, id="uvicorn", marks=pytest.mark.long),
    ],
)
def test_a_server_tells_how_many_threads_it_has_for_requests(
    command: list[str], told: list[int] | None, tmp_path: Path
) -> None:
    with (
        served(command, dict(os.environ), tmp_path / "log") as address,
        urllib.request.urlopen(address, timeout=10) as answer,
    ):
        assert json.loads(answer.read()) == told


def test_here_nobody_tells_it() -> None:
    assert request_threads() is None
    assert serving() is None


def test_a_request_is_under_way_until_it_ends_and_no_longer_than_its_thread() -> None:
    requests.begin("GET /here/")
    assert [each.name for each in requests.under_way()] == ["GET /here/"]
    requests.end()
    assert requests.under_way() == ()
    requests.end()
    # Nobody tells its end.
    Begun(lambda: requests.begin("GET /gone/")).end()
    until(lambda: requests.under_way() == (), "the thread to be forgotten")


def test_a_forked_child_serves_none_of_its_parent_s_requests() -> None:
    requests.begin("GET /forks/")
    assert in_child(lambda: [each.name for each in requests.under_way()]) == []
    assert [each.name for each in requests.under_way()] == ["GET /forks/"]
    requests.end()
