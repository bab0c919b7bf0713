"""The console as a process of its own: it answers while the web workers don't, and serves nothing but the console."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import psycopg
import pytest

from poolmgr.control.reporting.fleet import read_fleet
from poolmgr.models import Command
from poolsite.demo.browser import Browser
from poolsite.demo.servers import EmbeddedPostgres, EmbeddedRedis
from tests.pools import backends
from tests.sampling import first_always
from tests.waiting import until

from .console import PASSWORD, person
from .serving import gunicorn, served, uvicorn

Serve = Callable[[list[str]], str]


@pytest.fixture
def environment(site_environment: dict[str, str], redis_server: EmbeddedRedis, settings: Any) -> dict[str, str]:
    poolmgr = {"REDIS_URL": redis_server.url(), "NAMESPACE": f"t{uuid.uuid4().hex[:8]}", "HEARTBEAT_INTERVAL": 0.3}
    settings.POOLMGR = {**poolmgr, "AGENT": False}
    return {
        **site_environment,
        "DJANGO_SETTINGS_MODULE": "tests.integration.control_settings",
        "TEST_POOLMGR": json.dumps(poolmgr),
    }


@pytest.fixture
def serve(environment: dict[str, str], tmp_path: Path) -> Iterator[Serve]:
    with ExitStack() as stack:

        def start(command: list[str], **more: str) -> str:
            log = tmp_path / f"{uuid.uuid4().hex[:6]}.log"
            return stack.enter_context(served(command, {**environment, **more}, log))

        yield start


@pytest.fixture
def stuck(
    serve: Serve, environment: dict[str, str], postgres: EmbeddedPostgres
) -> Iterator[tuple[str, list[threading.Thread]]]:
    """Web workers with all their threads in searches that wait for a lock, and their clients."""
    web = serve(gunicorn("poolsite.wsgi"))
    table = "docsearch_document"
    with psycopg.connect(environment["DATABASE_URL"]) as outsider:
        outsider.execute(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE")
        waiting = [
            threading.Thread(target=lambda: Browser(web).get("/api/search?q=path"), daemon=True) for _ in "12345"
        ]
        for each in waiting:
            each.start()
        until(lambda: waits_for_lock(environment["DATABASE_URL"]) >= 2, "both threads to wait")
        yield web, waiting
        outsider.rollback()
    for each in waiting:
        each.join(15)


def waits_for_lock(url: str) -> int:
    with psycopg.connect(url, autocommit=True) as console:
        row = console.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
        ).fetchone()
    assert row is not None
    return int(row[0])


def logged_in(address: str) -> Browser:
    browser = Browser(address)
    fields = browser.get("/admin/login/?next=/pools/").form() | {"username": "operator", "password": PASSWORD}
    page = browser.post("/admin/login/?next=/pools/", fields)
    assert (page.status, page.url) == (200, f"{address}/pools/"), page.text[:500]
    return browser


@pytest.mark.long
@pytest.mark.parametrize(
    "command",
    first_always(gunicorn("poolmgr.console:application"), uvicorn("poolmgr.console.asgi:application")),
    ids=["wsgi", "asgi"],
)
def test_it_answers_while_every_web_thread_is_stuck(
    command: list[str], stuck: tuple[str, list[threading.Thread]], serve: Serve, environment: dict[str, str]
) -> None:  # P10
    web, _waiting = stuck
    person("operator", superuser=True)
    with pytest.raises(TimeoutError):
        Browser(web, timeout=1).get("/admin/login/")
    console = logged_in(serve(command))
    page = console.get("/pools/")
    assert 'data-key="target default"' in page.text
    # The web process is there, and the one that shows it is not: it serves nobody's requests.
    seen = console.get("/pools/api/v1/processes").json()["processes"]
    assert [each["role"] for each in seen] == ["web"]
    assert console.get("/admin/poolmgr/poolprofile/").status == 200
    fields = console.get("/pools/confirm/?kind=recycle&target=default").form()
    assert "Sent: recycle" in console.post("/pools/command/", fields | {"kind": "recycle", "target": "default"}).text
    assert Command.objects.get().author == "operator"


def test_it_holds_no_pool_and_no_connection(serve: Serve, environment: dict[str, str], settings: Any) -> None:
    person("operator", superuser=True)
    console = logged_in(serve(gunicorn("poolmgr.console:application", threads=4)))
    url = environment["DATABASE_URL"]
    ours = backends(url)
    for page in ("/pools/", "/pools/fragment/", "/pools/metrics", "/admin/", "/admin/poolmgr/poolprofile/add/"):
        assert console.get(page).status == 200
    until(lambda: backends(url) <= ours, "its connections to close")
    assert read_fleet().processes == ()


def test_it_serves_the_console_and_nothing_else(serve: Serve) -> None:
    address = serve(gunicorn("poolmgr.console:application"))
    stranger = Browser(address)
    refused = stranger.get("/api/search?q=path")
    assert refused.status == 404
    assert "This process serves the pools' console alone" in refused.text
    assert stranger.get("/").url.startswith(f"{address}/admin/login/?next=/pools/")
    assert stranger.get("/static/poolmgr/dashboard.js").status == 200
    assert stranger.get("/nowhere").status == 404


@pytest.mark.long
def test_a_site_without_a_dashboard_has_one_here(serve: Serve) -> None:
    person("operator", superuser=True)
    address = serve(gunicorn("poolmgr.console:application"), TEST_URLCONF="tests.integration.admin_alone_urls")
    console = logged_in(address)
    assert console.get("/pools/").status == 200
    assert console.get("/admin/poolmgr/event/").status == 200
    assert console.get("/api/search?q=path").status == 404


@pytest.mark.long
def test_paths_that_the_site_names_are_served_too(serve: Serve, environment: dict[str, str]) -> None:
    poolmgr = {**json.loads(environment["TEST_POOLMGR"]), "CONSOLE_PATHS": ["/api/"]}
    address = serve(gunicorn("poolmgr.console:application"), TEST_POOLMGR=json.dumps(poolmgr))
    assert Browser(address).get("/api/search?q=").status == 400


@pytest.mark.long
def test_without_the_app_it_says_what_it_needs(environment: dict[str, str]) -> None:
    environment = {**environment, "DJANGO_SETTINGS_MODULE": "tests.faults.programs.settings"}
    done = subprocess.run(
        [sys.executable, "-c", "import poolmgr.console.wsgi"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].endswith("that has 'poolmgr' in INSTALLED_APPS")
