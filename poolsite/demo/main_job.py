"""The steps of the self-check: what an operator does with the demo, done over HTTP and through Celery."""

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import psycopg

from poolmgr.backends.async_postgresql import requirement
from poolmgr.pools.kinds import Kind

from .browser import Browser
from .expecting import await_that, expect
from .listener import Listener
from .load import Load
from .operator import PROFILES, Operator
from .site import ROOT, THREADS, Site
from .traffic import THROUGH

TARGET = "default"
#: The targets that the children of the Celery worker use too.
IN_WORKERS = (TARGET, "reports", "results")

#: More than the pool of the process that streams may have connections, and the parts in which a stream must at least come.
LISTENERS, PARTS = 24, 10

Step = tuple[str, Callable[[], list[str]]]


class MainJob:
    def __init__(self, site: Site) -> None:
        self.site = site
        self.operator = Operator(site)
        self.load = Load(site.url, site.answers_url)
        self.targets: dict[str, Kind] = {}

    def steps(self) -> Iterator[Step]:
        """In this order: each builds on what the ones before left, and is named when those are done."""
        yield "PostgreSQL and Redis start", self.start_servers
        yield "the database is migrated, the documents are loaded", self.prepare
        if self.site.pgbouncer:
            yield "PgBouncer starts on the files that manage.py pgbouncer config writes", self.start_pgbouncer
        yield "web, answers, console, Celery worker and beat start, the site answers", self.start_processes
        yield "a search answers alike through ORM, SQLAlchemy and asyncpg, as page and JSON", self.search
        yield "so does the ASGI server, whose views await", self.search_by_awaiting
        yield "answers are streamed word by word, to more than there are connections", self.answers
        yield "dashboard and admin refuse strangers and users who are not staff", self.refuse
        yield "dashboard and admin load for the operator", self.log_in
        yield "every process reports its pools", self.meet_the_fleet
        for target, kind in self.targets.items():
            it = f"{target} ({kind.label})"
            yield (
                f"{it}: a max_size saved in the admin is in force everywhere",
                partial(self.operator.create, target, kind),
            )
            yield f"{it}: so is the next edit", partial(self.operator.edit, target)
            yield f"{it}: a recycle through Celery replaces every connection", partial(self.operator.recycle, target)
            if kind.elsewhere:
                yield f"{it}: its card has a verdict", partial(self.operator.judge, target)
                yield f"{it}: paused it serves nobody, resumed those who waited", partial(self.operator.pause, target)
        yield "no request failed meanwhile", self.no_request_failed
        yield "poolcheck exits 0", self.poolcheck
        # Last: that requests waited long is news to poolcheck for a minute.
        yield "the console answers while every thread of the web workers waits", self.console_stands_apart

    # -- the site ------------------------------------------------------------------------------------------------------

    def start_servers(self) -> list[str]:
        self.site.start_servers()
        return []

    def prepare(self) -> list[str]:
        return self.site.prepare(quiet=True)

    def start_pgbouncer(self) -> list[str]:
        self.site.start_pgbouncer()
        return []

    def start_processes(self) -> list[str]:
        self.site.start_processes()
        return []

    def search_by_awaiting(self) -> list[str]:
        return self._searches(Browser(self.site.answers_url))

    def search(self) -> list[str]:
        visitor = Browser(self.site.url)
        said = self._searches(visitor)
        page = visitor.get("/?q=temporary+directory")
        expect(page.status == 200 and "tempfile.TemporaryDirectory" in page.text, f"the page answered {page.status}")
        bad = visitor.get("/api/search?q=")
        expect(bad.status == 400 and "error" in bad.json(), f"an empty query was answered with {bad.status}")
        return said

    def answers(self) -> list[str]:
        moved = Browser(self.site.url).get("/answer/")
        expect(moved.url == f"{self.site.answers_url}/answer/", f"the web's answers are at {moved.url}")
        read = [Listener(self.site.answers_url) for _ in range(LISTENERS)]
        for each in read:
            each.start()
        for each in read:
            each.join(60)
        heard = [each.heard for each in read if each.heard is not None]
        wrong = [each.failure for each in read if each.failure]
        expect(len(heard) == LISTENERS and not wrong, f"{len(heard)} of {LISTENERS} were answered: {wrong[:3]}")
        by = "a task" if requirement.what_is_missing() == "" else "threads"
        first = heard[0]
        expect(first.streamed_from == by, f"answers come from {first.streamed_from}, not from {by}")
        expect(
            all(each.parts > PARTS for each in heard), f"an answer came in {min(each.parts for each in heard)} parts"
        )
        held = max(each.held_ms / each.took_ms for each in heard)
        expect(held < 0.5, f"an answer held a connection for {held:.0%} of its time")
        return [
            f"{LISTENERS} at once, from {by}: the slowest in {max(each.took_ms for each in heard):.0f} ms, of which it held a"
            f" connection for {max(each.held_ms for each in heard):.1f} ms at most"
        ]

    def _searches(self, visitor: Browser) -> list[str]:
        found = {through: self._search(visitor, through) for through in THROUGH}
        results = [answer["results"] for answer in found.values()]
        expect(all(each == results[0] for each in results), f"the ways found different documents: {results}")
        names = [result["name"] for result in results[0]]
        expect("tempfile.TemporaryDirectory" in names, f"a search for a temporary directory found {names}")
        return [
            f"{way['through']}: checkout {way['checkout_ms']} ms, query {way['query_ms']} ms on server process"
            f" {way['server_process']}; first of {len(names)}: {names[0]}"
            for answer in found.values()
            for way in answer["ways"]
        ]

    def _search(self, visitor: Browser, through: str) -> Any:
        answer = visitor.get(f"/api/search?q=temporary+directory&through={through}")
        expect(answer.status == 200, f"the search through {through} answered {answer.status}: {answer.text[:300]}")
        return answer.json()

    # -- who may -------------------------------------------------------------------------------------------------------

    def refuse(self) -> list[str]:
        said = []
        visitor = Browser(self.site.url, {self.site.environment["SESSION_COOKIE_NAME"]: self._visitor_session()})
        for path in ("/pools/", "/pools/api/v1/status", "/admin/", PROFILES):
            for who, browser in (("a stranger", Browser(self.site.url)), ("a user", visitor)):
                page = browser.get(path)
                refused = page.status in (401, 403) or "/login/" in page.url
                expect(refused, f"{who} gets {path} with status {page.status}")
            said.append(path)
        return ["refused: " + ", ".join(said)]

    def log_in(self) -> list[str]:
        self.operator.log_in()
        for path in ("/admin/", PROFILES, "/pools/"):
            page = self.operator.browser.get(path)
            expect(page.status == 200 and "/login/" not in page.url, f"the operator gets {path} with {page.status}")
        return []

    def _visitor_session(self) -> str:
        command = [sys.executable, "-m", "poolsite.demo.visitor"]
        done = subprocess.run(command, cwd=ROOT, env=self.site.environment, capture_output=True, text=True)
        expect(done.returncode == 0, f"the visitor's session could not be made:\n{done.stderr}")
        return done.stdout.strip()

    # -- the fleet -----------------------------------------------------------------------------------------------------

    def meet_the_fleet(self) -> list[str]:
        """Processes make each of their pools when they first need it: give each of them something to do."""
        options = self.site.options
        wanted = {"web": options.workers, "worker": options.concurrency}
        self.targets = self.operator.targets()
        self.load.start()

        visitor = Browser(self.site.url)

        def complete() -> bool:
            # Each child of the worker takes a task at a time: several at once reach all of them.
            for _ in range(options.concurrency * 2):
                self.operator.order("check_targets", expires=10)
                # Which takes long enough for the others to get one too, and has a result.
                self.operator.order("poolsite.reports.tasks.count_words", expires=10)
            # Who waits for words to be counted comes by seldom, and needs luck to meet each of the web workers.
            for _ in range(options.workers * 2):
                visitor.get("/reports/")
            led = [target for target, kind in self.targets.items() if kind.elsewhere]
            return all(self._roles(target) for target in led) and all(
                self._roles(target).count(role) >= count
                for target in self.targets.keys() - led
                for role, count in wanted.items()
                if role == "web" or target in IN_WORKERS
            )

        await_that(complete, 60, lambda: f"expected {wanted}, the fleet is {self._fleet_lines()}", pause=0.5)
        return self._fleet_lines()

    def _roles(self, target: str) -> list[str]:
        return [process["role"] for process in self.operator.fleet(target).values()]

    def _fleet_lines(self) -> list[str]:
        return [f"{target}: {line}" for target in self.targets for line in self.operator.lines(target) or ["nobody"]]

    def no_request_failed(self) -> list[str]:
        self.load.stop()
        expect(not self.load.failures, f"{len(self.load.failures)} requests failed: {self.load.failures[:3]}")
        return [f"{self.load.requests} requests"]

    # -- the console that stands apart ---------------------------------------------------------------------------------

    def console_stands_apart(self) -> list[str]:
        before = set(self.operator.fleet(TARGET))
        with self._every_web_thread_waiting() as searches:
            console = Browser(self.site.console_url)
            began = time.monotonic()
            page = self.operator.log_in(console)
            took = time.monotonic() - began
            expect(f'data-key="target {TARGET}"' in page.text, "the console's dashboard shows no target")
            seen = {process["uid"] for process in console.get("/pools/api/v1/processes").json()["processes"]}
            expect(before <= seen, f"the console shows {seen} of the fleet {before}")
            refused = console.get("/api/search?q=path").status
            expect(refused == 404, f"the console answers a search with {refused}")
            stuck = [search for search in searches if search.is_alive()]
            expect(len(stuck) == len(searches), f"only {len(stuck)} of {len(searches)} searches still waited")
        return [f"login and dashboard in {took:.2f} s, while {len(searches)} searches waited"]

    @contextmanager
    def _every_web_thread_waiting(self) -> Iterator[list[threading.Thread]]:
        """More searches than threads, all of them behind a lock that somebody holds outside of the site."""
        answers: list[int] = []

        def search() -> None:
            answers.append(Browser(self.site.url).get("/api/search?q=path").status)

        wanted = 2 * THREADS * self.site.options.workers
        searches = [threading.Thread(target=search, daemon=True) for _ in range(wanted)]
        with psycopg.connect(self.site.environment["DATABASE_URL"]) as outsider:
            outsider.execute("LOCK TABLE docsearch_document IN ACCESS EXCLUSIVE MODE")
            for each in searches:
                each.start()
            await_that(self._web_is_stuck, 10, lambda: "the web workers still answer", pause=0.1)
            yield searches
        for each in searches:
            each.join(30)
        expect(answers == [200] * wanted, f"after the lock the {wanted} searches were answered with {answers}")

    def _web_is_stuck(self) -> bool:
        try:
            Browser(self.site.url, timeout=1).get("/admin/login/")
        except TimeoutError:
            return True
        return False

    def poolcheck(self) -> list[str]:
        command = [sys.executable, "manage.py", "poolcheck"]
        done = subprocess.run(command, cwd=ROOT, env=self.site.environment, capture_output=True, text=True, timeout=60)
        output = (done.stdout + done.stderr).strip()
        expect(done.returncode == 0, f"poolcheck exits {done.returncode}:\n{output}")
        return output.splitlines()
