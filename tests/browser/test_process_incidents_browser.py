"""A site's own processes: full ones beside those with room, one that is killed, and threads that wait for something else."""

from __future__ import annotations

import json
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from subprocess import run
from typing import Any

import psycopg
import pytest
from selenium.webdriver.support.ui import Select

from poolsite.demo.servers import EmbeddedPostgres, EmbeddedRedis
from tests.browser.acting import SOON, pressed, says, told_what_to_do
from tests.browser.conftest import Page
from tests.integration.control_fleet import Member
from tests.integration.outages import OutageSite, Visitor
from tests.integration.serving import gunicorn
from tests.threads import Begun
from tests.waiting import until

pytestmark = [pytest.mark.browser, pytest.mark.faults, pytest.mark.long]

THREADS, MAX_SIZE = 4, 3
#: Two edits of the web processes' profile: what is put down to the last one.
EDITS = """
import django; django.setup()
from poolmgr.control.editing.profiles import save_profile
from poolmgr.models import PoolProfile
made = PoolProfile(target="default", role="web", min_size=1, connection_timeout=20.0)
for made.max_size in (8, 3):
    save_profile(made, "operator")
"""


class Service:
    """Another service, of which each question waits until the test has it answered."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._asking: list[socket.socket] = []
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def _accept(self) -> None:
        while True:
            try:
                self._asking.append(self._listener.accept()[0])
            except OSError:
                return

    @property
    def asked(self) -> int:
        return len(self._asking)

    def answer(self) -> None:
        while self._asking:
            self._asking.pop().close()

    def end(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.answer()


class Site:
    """Two web processes, two workers, and the console in a process of its own."""

    def __init__(self, outages: OutageSite, service: Service) -> None:
        self.service = service
        pool = json.dumps({"min_size": 1, "max_size": MAX_SIZE, "connection_timeout": 20.0})
        more = {"TEST_SERVICE": str(service.port), "TEST_URLCONF": "tests.integration.slow_urls", "TEST_POOL": pool}
        self.web = [outages.serve(gunicorn("poolsite.wsgi", threads=THREADS), **more) for _ in range(2)]
        self.environment = outages._filled(**more)
        worker = {**self.environment, "POOLMGR_ROLE": "worker", "TEST_THREADS": "0"}
        self.workers = [Member(worker) for _ in range(2)]
        outages.stack.callback(self._end)
        for each in self.workers:
            until(lambda each=each: each.lines or each.process.poll() is not None, "a worker", 60)
        for address in self.web:
            assert Visitor(address).get("/things/").status == 200
        self.console = outages.serve(gunicorn("poolmgr.console:application", threads=4))

    def _end(self) -> None:
        for each in self.workers:
            if each.process.poll() is None:
                each.kill()

    def edit(self) -> None:
        run([sys.executable, "-c", EDITS], env=self.environment, check=True, timeout=60)

    def visits(self, acting: ExitStack, path: str, number: int) -> None:
        """So many visitors of each web process, who wait for the service."""
        asked = self.service.asked
        for address in self.web:
            for _ in range(number):
                begun = Begun(lambda address=address: Visitor(address, timeout=60.0).get(path).status)
                acting.callback(begun.end)
        until(lambda: self.service.asked >= asked + number * len(self.web), "all to wait for the service")


@pytest.fixture(scope="module")
def site(
    outage_server: EmbeddedPostgres, redis_server: EmbeddedRedis, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Site]:
    """Of an empty log."""
    with psycopg.connect(outage_server.superuser_url("site"), autocommit=True) as chief:
        chief.execute("TRUNCATE poolmgr_episode, poolmgr_event, poolmgr_poolprofile CASCADE")
    outages = OutageSite(outage_server, redis_server, tmp_path_factory.mktemp("incidents"))
    outages.poolmgr["PROCESS_TTL"] = 6
    service = Service()
    with outages.stack:
        yield Site(outages, service)
        service.end()


@pytest.fixture
def watched(chromium: Any, site: Site, acting: ExitStack) -> Iterator[Page]:
    page = Page(chromium, site.console)
    page.complaints()
    page.sign_in("operator")
    Select(page.one("#pm-interval")).select_by_value("2")
    says(page, "All is well")
    acting.callback(site.service.answer)
    yield page
    chromium.get("about:blank")


def episodes(site: Site, family: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(site.environment["DATABASE_URL"]) as reader:
        asked = "SELECT target, code, place, ended_at FROM poolmgr_episode WHERE family = %s"
        return reader.execute(asked, [family]).fetchall()


def test_room_that_workers_have_is_none_for_requests(
    watched: Page, site: Site, acting: ExitStack, picture: Callable[..., None]
) -> None:
    site.edit()
    release = acting.pop_all()
    site.visits(acting, "/orders/", 1)
    site.visits(acting, "/reports/7/", 2)
    for address in site.web:
        acting.callback(Begun(lambda address=address: Visitor(address, timeout=60.0).get("/things/").status).end)
    acting.push(release.__exit__)
    says(watched, "default: 2 requests wait")
    says(watched, "both web processes are full (3 of 3 each)")
    says(watched, "max_size 8 → 3, by operator", ".pm-since")
    until(lambda: len(watched.texts("[data-key='holders'] .pm-label strong")) == 5, "who holds", SOON)
    assert pressed(watched) == "Restore revision 1"
    # That all threads are busy is what the pool has led to, and is none of its own.
    assert "threads" not in watched.text("#pools")
    picture(watched, "overview-full", "light", "dark")
    watched.open("/pools/targets/default/")
    says(watched, "both web processes are full (3 of 3 each)")
    picture(watched, "target-full", "light")


def test_threads_that_wait_for_something_else_are_told_and_the_pool_is_not_blamed(
    watched: Page, site: Site, acting: ExitStack, picture: Callable[..., None]
) -> None:
    release = acting.pop_all()
    site.visits(acting, "/quotes/", THREADS)
    acting.callback(Begun(lambda: Visitor(site.web[0], timeout=60.0).get("/things/").status).end)
    acting.push(release.__exit__)
    says(watched, "All 8 request threads are busy, and none has come free for")
    says(watched, "8 in GET /quotes/")
    says(watched, "1 request waits for a thread")
    says(watched, "The pools are not what is short: 0 of 6 connections are in use, and nobody waits for one.")
    assert "since" in watched.text(".pm-since")
    assert pressed(watched) == "What keeps them"
    picture(watched, "threads-used-up", "light")
    told_what_to_do(watched, "All request threads are busy")
    watched.one(".pm-remedies .pm-primary").click()
    until(lambda: "slow_urls.py" in watched.text(".pm-views .pm-call"), "the line of code", SOON)
    assert "in _waits_for_the_service" in watched.text(".pm-views .pm-call")
    watched.open("/pools/")
    site.service.answer()
    says(watched, "All is well")
    until(lambda: [row for row in episodes(site, "threads") if row[0] == "" and row[3]], "the episode's end", SOON)


def test_a_worker_that_was_killed_is_told_once_and_leaves_an_episode(watched: Page, site: Site) -> None:
    place = f":{site.workers[0].process.pid}"
    site.workers[0].kill()
    says(watched, f"{place}: No heartbeat of this worker process for")
    assert "since" in watched.text(".pm-since")
    # Its target tells what was known last, and not the same once more.
    row = until(lambda: watched.text("[data-key='target default'] .pm-row-sentence"), "the target's row")
    assert row.startswith("1 of 4 silent. Last known of all:")
    assert watched.text("#pools").count("No heartbeat") == 1
    assert pressed(watched) == "Look at the process"
    told_what_to_do(watched, "A process sends no heartbeat")
    watched.one(".pm-remedies .pm-primary").click()
    until(lambda: place in watched.text("#content"), "the page of the process", SOON)
    watched.open("/pools/")
    # When its heartbeat has expired, it is gone.
    until(lambda: "All is well" in watched.text("#pools .pm-headline"), "the others to be well", 20)
    until(lambda: "ended without a word" in watched.text("[data-key='happened']"), "the line", 20)
    assert watched.text("[data-key='happened']").count(place) == 1
    [(target, code, where, ended)] = episodes(site, "gone")
    assert (target, code, ended is not None) == ("", "gone", True)
    assert where.startswith("worker ")
    assert where.endswith(place)
