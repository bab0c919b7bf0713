"""What an operator does with a target of whatever kind, by the admin and through Celery: a profile, an edit, a recycle."""

import re
import threading
import time
from html import unescape
from typing import Any
from urllib.parse import quote

import psycopg
from celery import Celery

from poolmgr.pools.kinds import Kind
from poolmgr.targets.kinds import KINDS

from .browser import Browser, Page
from .expecting import Failed, await_that, expect
from .site import OPERATOR, Site

API = "/pools/api/v1/"
PROFILES = "/admin/poolmgr/poolprofile/"
# They differ from the bootstrap settings and from each other.
FIRST_SIZE, SECOND_SIZE = 6, 5
#: Seconds until what was ordered must be so everywhere: many times what it takes.
PATIENCE = 20

#: How often an edit is confirmed, at most.
ASKED = 3

Fleet = dict[str, dict[str, Any]]


class Operator:
    """Logged in to the site by ``log_in()``."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.browser = Browser(site.url)

    def log_in(self, browser: Browser | None = None) -> Page:
        browser = browser or self.browser
        login = browser.get("/admin/login/?next=/pools/")
        fields = login.form() | {"username": OPERATOR, "password": self.site.password}
        page = browser.post("/admin/login/?next=/pools/", fields)
        # The log-in page, where a refused one leads, ends as the address behind it does.
        expect(
            page.status == 200 and page.url == f"{browser.site}/pools/", f"the log-in led to {page.url}, {page.status}"
        )
        return page

    def order(self, task: str, *arguments: str, expires: int) -> None:
        """``task`` is one of poolmgr's, or any by its whole name."""
        name = task if "." in task else f"poolmgr.tasks.{task}"
        Celery(broker=self.site.environment["REDIS_URL"]).send_task(name, arguments, expires=expires)

    # -- what there is -------------------------------------------------------------------------------------------------

    def targets(self) -> dict[str, Kind]:
        """The targets that a profile can be added for, and their kinds, of which the demo has at least one each."""
        page = self.browser.get(PROFILES + "add/")
        rows = re.findall(r'<th scope="row"><a href="[^"]*">([^<]*)</a></th><td>([^<]*)</td>', page.text)
        kinds = {kind.label: kind for kind in KINDS}
        found = {unescape(target): kinds[unescape(label)] for target, label in rows}
        # What is a server's own, such as a PgBouncer, is not on every machine.
        missing = [label for label, kind in kinds.items() if kind not in found.values() and not kind.elsewhere]
        expect(not missing, f"the demo has no target of the kind {' and '.join(missing)}: there are {', '.join(found)}")
        return found

    def fleet(self, target: str) -> Fleet:
        """The processes that have a pool to a target, by uid, as the API tells of them."""
        page = self.browser.get(f"{API}processes?target={quote(target, safe='')}")
        expect(page.status == 200, f"{page.url} answered {page.status}: {page.text[:300]}")
        # The check's own short commands come and go.
        return {process["uid"]: process for process in page.json()["processes"] if process["role"] != "command"}

    def lines(self, target: str) -> list[str]:
        return [
            f"{name_of(process)}: max_size {pool['max_size']} by {pool['profile']}, {pool['idle']} idle,"
            f" {pool['used']} in use"
            for process in self.fleet(target).values()
            for pool in process["pools"]
        ]

    # -- what is done with it ------------------------------------------------------------------------------------------

    def create(self, target: str, kind: Kind) -> list[str]:
        """A profile by the form that is for this kind."""
        # The page asks for the target first, since each kind has a form of its own.
        address = f"{PROFILES}add/?target={quote(target, safe='')}"
        form = self.browser.get(address).form("_save")
        wrong = [*(name for name in kind.honours if name not in form), *(name for name in kind.refuses if name in form)]
        expect(not wrong, f"the form for {target} lacks a setting of {kind.label}, or offers one: {', '.join(wrong)}")
        fields = form | {"target": target, "role": "", "max_size": str(FIRST_SIZE), "enabled": "on"}
        return self._save(target, address, fields, FIRST_SIZE)

    def edit(self, target: str) -> list[str]:
        listed = self.browser.get(PROFILES).text
        found = re.search(rf'href="({PROFILES}\d+/change/)[^"]*">{re.escape(target)}</a>', listed)
        if found is None:
            raise Failed(f"the list of profiles has no link to that of {target}")
        fields = self.browser.get(found[1]).form("_save") | {"max_size": str(SECOND_SIZE)}
        return self._save(target, found[1], fields, SECOND_SIZE)

    def _save(self, target: str, address: str, fields: dict[str, str], size: int) -> list[str]:
        before = set(self.fleet(target))
        began = time.monotonic()
        saved = self.browser.post(address, fields)
        for _ in range(ASKED):
            # What somebody would feel has to be confirmed, and is asked about again where it is worse by then.
            if not (asked := re.search(r'name="confirmed" value="([^"]*)"', saved.text)):
                break
            saved = self.browser.post(address, fields | {"confirmed": unescape(asked[1])})
        expect(
            saved.url == self.site.url + PROFILES, f"the admin did not save the profile of {target}: {_errors(saved)}"
        )

        def in_force() -> bool:
            now = self.fleet(target)
            sizes = {pool["max_size"] for process in now.values() for pool in process["pools"]}
            return before <= set(now) and sizes == {size}

        await_that(
            in_force, PATIENCE, lambda: f"max_size {size} of {target} is not in force everywhere: {self.lines(target)}"
        )
        return [f"in force {time.monotonic() - began:.2f} s after the form was sent", *self.lines(target)]

    def recycle(self, target: str) -> list[str]:
        before = self.fleet(target)
        self.order("recycle", target, OPERATOR, expires=60)

        def replaced() -> bool:
            now = self.fleet(target)
            return all(uid in now and _is_renewed(process, now[uid]) for uid, process in before.items())

        await_that(
            replaced,
            PATIENCE,
            lambda: (
                f"connections to {target} were left: {_all_ends(before)} before, {_all_ends(self.fleet(target))} now"
            ),
        )
        now = self.fleet(target)
        return [f"{name_of(process)}: {_told(process)} -> {_told(now[uid])}" for uid, process in before.items()]

    # -- what only a server that keeps its own pools has ---------------------------------------------------------------

    def judge(self, target: str) -> list[str]:
        page = self.browser.get(f"/pools/targets/{quote(target, safe=':')}/").text
        said = re.search(r'<p class="pm-headline"[^>]*>(.*?)</p>', page)
        if said is None:
            raise Failed(f"the console has no page with a verdict of {target}")
        [state] = [each["verdict"]["state"] for each in self._views() if each["target"] == target]
        expect(state in ("ok", "warning"), f"the verdict of {target} is {state}: {unescape(said[1])}")
        return [f"{state}: {unescape(said[1])}"]

    def pause(self, target: str) -> list[str]:
        """By the buttons of the dashboard. Somebody asks meanwhile, and is served by the resume."""
        self._command("pause", target)
        await_that(
            lambda: self._statuses(target) == {"paused"}, PATIENCE, lambda: f"{target} is {self._statuses(target)}"
        )
        served: list[Any] = []
        waiting = threading.Thread(target=lambda: served.append(self._ask_through()))
        waiting.start()
        await_that(lambda: self._pending(target) > 0, PATIENCE, lambda: f"nobody waits at {target}")
        expect(not served, f"somebody was served by {target} while it was paused")
        self._command("resume", target)
        waiting.join(PATIENCE)
        expect(served == [(1,)], f"who waited at {target} was not served: {served}")
        await_that(
            lambda: self._statuses(target) == {"open"}, PATIENCE, lambda: f"{target} is {self._statuses(target)}"
        )
        # What is reported in the moment of the resume still has them in the queue.
        await_that(
            lambda: not self._pending(target), PATIENCE, lambda: f"{self._pending(target)} wait at {target} still"
        )
        return []

    def _ask_through(self) -> Any:
        with psycopg.connect(self.site.environment["REPORTS_DATABASE_URL"], connect_timeout=PATIENCE) as connection:
            return connection.execute("SELECT 1").fetchone()

    def _command(self, kind: str, target: str) -> None:
        page = self.browser.get(f"/pools/confirm/?kind={kind}&target={quote(target, safe='')}")
        sent = self.browser.post("/pools/command/", page.form())
        expect(sent.status == 200 and "Sent:" in sent.text, f"{kind} of {target} was answered with {sent.status}")

    def _views(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.browser.get(f"{API}status").json()["targets"]
        return found

    def _statuses(self, target: str) -> set[str]:
        return {pool["status"] for process in self.fleet(target).values() for pool in process["pools"]}

    def _pending(self, target: str) -> int:
        return sum(pool["pending"] for process in self.fleet(target).values() for pool in process["pools"])


def name_of(process: dict[str, Any]) -> str:
    return f"{process['role']} {process['pid']}"


def _errors(page: Page) -> str:
    """What the admin's form says is wrong, without the page around it."""
    parts = [part.partition("</ul>")[0] for part in page.text.split('class="errorlist')[1:]]
    return f"{page.status} at {page.url}; " + " ".join(parts).replace("\n", " ")[:500]


def _ends(process: dict[str, Any]) -> list[int]:
    """The numbers by which the server calls its ends of the process's connections."""
    return sorted({end for pool in process["pools"] for end in pool["backend_pids"]})


def _told(process: dict[str, Any]) -> str:
    # A broker's connections have no number that we could know.
    return f"{_ends(process) or f'generation {_generation(process)}'}"


def _all_ends(fleet: Fleet) -> dict[str, str]:
    return {name_of(process): _told(process) for process in fleet.values()}


def _is_renewed(before: dict[str, Any], now: dict[str, Any]) -> bool:
    """Connections again if there were any, none of them an old one, and the process says that its pool was recycled."""
    fresh = not {*_ends(now)} & {*_ends(before)} and (bool(_ends(now)) or not _ends(before))
    return fresh and _generation(now) > _generation(before)


def _generation(process: dict[str, Any]) -> int:
    return min(int(pool["generation"]) for pool in process["pools"])
