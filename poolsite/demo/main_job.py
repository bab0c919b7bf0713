"""The steps of the self-check: what an operator does with the demo, done over HTTP and through Celery."""

import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import quote

import psycopg
from celery import Celery

from .browser import Browser, Page
from .site import OPERATOR, ROOT, THREADS, Site
from .traffic import THROUGH

TARGET = "default"
CACHE = "cache:default"
PROFILES = "/admin/poolmgr/poolprofile/"
# Both differ from the bootstrap settings and from each other.
FIRST_SIZE, SECOND_SIZE = 6, 5


class Failed(Exception):
    """A step did not come out as it must; the message says how."""


class MainJob:
    def __init__(self, site: Site) -> None:
        self.site = site
        self.operator = Browser(site.url)
        self.load = Load(site.url)

    def steps(self) -> list[tuple[str, Callable[[], list[str]]]]:
        """In this order: each builds on what the ones before left."""
        return [
            ("PostgreSQL and Redis start", self.start_servers),
            ("the database is migrated, the documents are loaded", self.prepare),
            ("web, console, Celery worker and beat start, the site answers", self.start_processes),
            (
                "a search answers through ORM and SQLAlchemy alike, on the page and as JSON; a bad one is refused",
                self.search,
            ),
            ("dashboard and admin refuse strangers and users who are not staff", self.refuse),
            ("dashboard and admin load for the operator", self.log_in),
            ("every process reports its pool", self.meet_the_fleet),
            ("a max_size saved in the admin is in force in every process", self.create_profile),
            ("so is the next edit", self.edit_profile),
            ("a recycle through Celery replaces every connection", self.recycle),
            ("the cache's pool too follows a profile in every process that has one", self.edit_cache),
            ("and is recycled", self.recycle_cache),
            ("no search failed meanwhile", self.no_search_failed),
            ("poolcheck exits 0", self.poolcheck),
            # Last: that requests waited long is news to poolcheck for a minute.
            ("the console answers while every thread of the web workers waits", self.console_stands_apart),
        ]

    # -- the site ------------------------------------------------------------------------------------------------------

    def start_servers(self) -> list[str]:
        self.site.start_servers()
        return []

    def prepare(self) -> list[str]:
        return self.site.prepare(quiet=True)

    def start_processes(self) -> list[str]:
        self.site.start_processes()
        return []

    def search(self) -> list[str]:
        visitor = Browser(self.site.url)
        found = {through: self._search(visitor, through) for through in THROUGH}
        results = [answer["results"] for answer in found.values()]
        _expect(all(each == results[0] for each in results), f"the ways found different documents: {results}")
        names = [result["name"] for result in results[0]]
        _expect("tempfile.TemporaryDirectory" in names, f"a search for a temporary directory found {names}")
        page = visitor.get("/?q=temporary+directory")
        _expect(page.status == 200 and "tempfile.TemporaryDirectory" in page.text, f"the page answered {page.status}")
        bad = visitor.get("/api/search?q=")
        _expect(bad.status == 400 and "error" in bad.json(), f"an empty query was answered with {bad.status}")
        return [
            f"{way['through']}: checkout {way['checkout_ms']} ms, query {way['query_ms']} ms on server process"
            f" {way['server_process']}; first of {len(names)}: {names[0]}"
            for answer in found.values()
            for way in answer["ways"]
        ]

    def _search(self, visitor: Browser, through: str) -> Any:
        answer = visitor.get(f"/api/search?q=temporary+directory&through={through}")
        _expect(answer.status == 200, f"the search through {through} answered {answer.status}: {answer.text[:300]}")
        return answer.json()

    # -- who may -------------------------------------------------------------------------------------------------------

    def refuse(self) -> list[str]:
        said = []
        visitor = Browser(self.site.url, {self.site.environment["SESSION_COOKIE_NAME"]: self._visitor_session()})
        for path in ("/pools/", "/pools/fleet.json", "/admin/", PROFILES):
            for who, browser in (("a stranger", Browser(self.site.url)), ("a user", visitor)):
                page = browser.get(path)
                refused = page.status in (401, 403) or "/login/" in page.url
                _expect(refused, f"{who} gets {path} with status {page.status}")
            said.append(path)
        return ["refused: " + ", ".join(said)]

    def log_in(self) -> list[str]:
        self._log_in(self.operator)
        for path in ("/admin/", PROFILES, "/pools/"):
            page = self.operator.get(path)
            _expect(page.status == 200 and "/login/" not in page.url, f"the operator gets {path} with {page.status}")
        return []

    def _log_in(self, browser: Browser) -> Page:
        login = browser.get("/admin/login/?next=/pools/")
        fields = login.form() | {"username": OPERATOR, "password": self.site.password}
        page = browser.post("/admin/login/?next=/pools/", fields)
        _expect(page.status == 200 and page.url.endswith("/pools/"), f"the log-in led to {page.url}, {page.status}")
        return page

    def _visitor_session(self) -> str:
        command = [sys.executable, "-m", "poolsite.demo.visitor"]
        done = subprocess.run(command, cwd=ROOT, env=self.site.environment, capture_output=True, text=True)
        _expect(done.returncode == 0, f"the visitor's session could not be made:\n{done.stderr}")
        return done.stdout.strip()

    # -- the fleet -----------------------------------------------------------------------------------------------------

    def meet_the_fleet(self) -> list[str]:
        """Processes make their pool at the first query: give each of them something to do."""
        options = self.site.options
        wanted = {"web": options.workers, "worker": options.concurrency}
        celery = self._celery()
        self.load.start()

        def complete() -> bool:
            # Each child of the worker takes a task at a time: several at once reach all of them.
            for _ in range(options.concurrency * 2):
                celery.send_task("poolmgr.tasks.check_targets", expires=10)
            roles = [process["role"] for process in self.fleet().values()]
            return all(roles.count(role) >= count for role, count in wanted.items())

        _await(complete, 20, lambda: f"expected {wanted}, the fleet is {self._lines()}", pause=0.5)
        return self._lines()

    def create_profile(self) -> list[str]:
        return self._create(TARGET)

    def _create(self, target: str) -> list[str]:
        # The page asks for the target first, since each kind has a form of its own.
        address = f"?target={quote(target, safe='')}"
        _expect(address in self.operator.get(PROFILES + "add/").text, f"nobody can add a profile for {target}")
        form = self.operator.get(PROFILES + "add/" + address).form("_save")
        _expect(("pool_mode" in form) == (target == TARGET), f"the form for {target} offers {sorted(form)}")
        fields = form | {"target": target, "role": "", "max_size": str(FIRST_SIZE), "enabled": "on"}
        return self._save(PROFILES + "add/" + address, fields, FIRST_SIZE, target)

    def edit_profile(self) -> list[str]:
        address = self._profile_address()
        fields = self.operator.get(address).form("_save") | {"max_size": str(SECOND_SIZE)}
        return self._save(address, fields, SECOND_SIZE)

    def edit_cache(self) -> list[str]:
        wanted = self.site.options.workers
        _await(lambda: len(self.fleet(CACHE)) >= wanted, 20, lambda: f"not {wanted} processes use the cache")
        return self._create(CACHE)

    def _save(self, address: str, fields: dict[str, str], size: int, target: str = TARGET) -> list[str]:
        before = set(self.fleet(target))
        began = time.monotonic()
        saved = self.operator.post(address, fields)
        _expect(saved.url.endswith(PROFILES), f"the admin did not save the profile: {_errors(saved)}")

        def in_force() -> bool:
            now = self.fleet(target)
            sizes = {pool["max_size"] for process in now.values() for pool in process["pools"]}
            return before <= set(now) and sizes == {size}

        _await(in_force, 10, lambda: f"max_size {size} is not in force everywhere: {self._lines(target)}")
        return [f"in force {time.monotonic() - began:.2f} s after the form was sent", *self._lines(target)]

    def _profile_address(self) -> str:
        text = self.operator.get(PROFILES).text
        # The only profile's link in the list.
        number = text.partition(PROFILES)[2].partition("/change/")[0].rpartition("/")[2]
        _expect(number.isdecimal(), "the list of profiles shows no link to the profile")
        return f"{PROFILES}{number}/change/"

    def recycle(self) -> list[str]:
        return self._recycle(TARGET)

    def recycle_cache(self) -> list[str]:
        return self._recycle(CACHE)

    def _recycle(self, target: str) -> list[str]:
        before = self.fleet(target)
        self._celery().send_task("poolmgr.tasks.recycle", [target, OPERATOR], expires=60)

        def replaced() -> bool:
            now = self.fleet(target)
            return all(uid in now and _is_renewed(process, now[uid]) for uid, process in before.items())

        _await(replaced, 30, lambda: f"connections were left: before {before}, now {self.fleet(target)}")
        now = self.fleet(target)
        return [
            f"{_name(process)}: backends {sorted(_backends(process))} -> {sorted(_backends(now[uid]))}"
            for uid, process in before.items()
        ]

    def no_search_failed(self) -> list[str]:
        self.load.stop()
        _expect(not self.load.failures, f"{len(self.load.failures)} searches failed: {self.load.failures[:3]}")
        return [f"{self.load.searches} searches"]

    # -- the console that stands apart ---------------------------------------------------------------------------------

    def console_stands_apart(self) -> list[str]:
        before = set(self.fleet())
        with self._every_web_thread_waiting() as searches:
            console = Browser(self.site.console_url)
            began = time.monotonic()
            page = self._log_in(console)
            took = time.monotonic() - began
            _expect(f'data-key="target {TARGET}"' in page.text, "the console's dashboard shows no target")
            seen = {process["uid"] for process in console.get("/pools/fleet.json").json()["processes"]}
            _expect(before <= seen, f"the console shows {seen} of the fleet {before}")
            refused = console.get("/api/search?q=path").status
            _expect(refused == 404, f"the console answers a search with {refused}")
            stuck = [search for search in searches if search.is_alive()]
            _expect(len(stuck) == len(searches), f"only {len(stuck)} of {len(searches)} searches still waited")
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
            _await(self._web_is_stuck, 10, lambda: "the web workers still answer", pause=0.1)
            yield searches
        for each in searches:
            each.join(30)
        _expect(answers == [200] * wanted, f"after the lock the {wanted} searches were answered with {answers}")

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
        _expect(done.returncode == 0, f"poolcheck exits {done.returncode}:\n{output}")
        return output.splitlines()

    def fleet(self, target: str = TARGET) -> dict[str, Any]:
        """The processes that have a pool to a target, by uid, as the dashboard's JSON shows them."""
        page = self.operator.get("/pools/fleet.json")
        _expect(page.status == 200, f"/pools/fleet.json answered {page.status}: {page.text[:300]}")
        fleet = {}
        for process in page.json()["processes"]:
            pools = [pool for pool in process["pools"] if pool["target"] == target]
            # The check's own short commands come and go.
            if pools and process["role"] != "command":
                fleet[process["uid"]] = {**process, "pools": pools}
        return fleet

    def _lines(self, target: str = TARGET) -> list[str]:
        return [
            f"{_name(process)}: max_size {pool['max_size']} by {pool['profile']}, {pool['idle']} idle, {pool['used']} in use"
            for process in self.fleet(target).values()
            for pool in process["pools"]
        ]

    def _celery(self) -> Celery:
        return Celery(broker=self.site.environment["REDIS_URL"])


class Load:
    """Searches without pause from two threads, so that a failing query would be seen."""

    def __init__(self, site: str) -> None:
        self.searches = 0
        self.failures: list[str] = []
        self._browser = Browser(site)
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._search, daemon=True) for _ in range(2)]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(30)

    def _search(self) -> None:
        while not self._stop.wait(0.02):
            try:
                page = self._browser.get(f"/api/search?q=thread+pool&limit=3&through={random.choice(THROUGH)}")
                failure = "" if page.status == 200 else f"{page.status} {page.text[:200]}"
            except OSError as error:
                failure = str(error)
            self.searches += 1
            if failure:
                self.failures.append(failure)


def _expect(true: bool, otherwise: str) -> None:
    if not true:
        raise Failed(otherwise)


def _await(condition: Callable[[], bool], seconds: float, otherwise: Callable[[], str], pause: float = 0.05) -> None:
    """Look again until it is so; what it was in the end becomes the error."""
    deadline = time.monotonic() + seconds
    never = threading.Event()
    while not condition():
        if time.monotonic() > deadline:
            raise Failed(f"not within {seconds:g} s: {otherwise()}")
        never.wait(pause)


def _errors(page: Page) -> str:
    """What the admin's form says is wrong, without the page around it."""
    parts = [part.partition("</ul>")[0] for part in page.text.split('class="errorlist')[1:]]
    return f"{page.status} at {page.url}; " + " ".join(parts).replace("\n", " ")[:500]


def _name(process: dict[str, Any]) -> str:
    return f"{process['role']} {process['pid']}"


def _backends(process: dict[str, Any]) -> set[int]:
    return {pid for pool in process["pools"] for pid in pool["backend_pids"]}


def _is_renewed(before: dict[str, Any], now: dict[str, Any]) -> bool:
    """Connections again, none of them an old one, and the process says that its pool was recycled."""
    fresh = bool(_backends(now)) and not _backends(now) & _backends(before)
    return fresh and _generation(now) > _generation(before)


def _generation(process: dict[str, Any]) -> int:
    return min(int(pool["generation"]) for pool in process["pools"])
