"""The console while the database that knows who may see it is stopped, full or frozen."""

from __future__ import annotations

import re
import time
from typing import Any

import pytest
from django.conf import settings

from tests.integration.outages import OutageSite, Visitor
from tests.integration.serving import gunicorn, uvicorn
from tests.sampling import first_always
from tests.threads import Begun
from tests.waiting import until

pytestmark = pytest.mark.faults

WEB = gunicorn("poolsite.wsgi", threads=4)
CONSOLE = gunicorn("poolmgr.console:application", threads=4)
AWAY = "The control database is away"
TARGET = "/pools/targets/default/"
WAYS = ("stopped", "full", "frozen")


def is_whole(visitor: Visitor) -> bool:
    """Whether the page knows everything again, and offers to act."""
    page, overview = visitor.get(TARGET).text, visitor.get("/pools/").text
    return (
        AWAY not in page + overview
        and "nknown:" not in page
        and "unknown, they" not in overview
        and "/pools/confirm/" in page
    )


def visitor_of_a_fleet(site: OutageSite, command: list[str], **more: Any) -> Visitor:
    """The operator, at a process that shows a fleet of one web process with a pool."""
    web = site.serve(WEB)
    assert Visitor(web).get("/api/search?q=path").status == 200
    visitor = Visitor(web if command is WEB and not more else site.serve(command, **more))
    visitor.log_in()
    until(lambda: "All is well" in visitor.get("/pools/").text, "the fleet to report", 30)
    return visitor


@pytest.mark.long
def test_nobody_is_told_less_than_the_store_knows(outage_site: OutageSite) -> None:  # P10
    """One fleet for the three ways: each recovers to the full picture."""
    visitor = visitor_of_a_fleet(outage_site, CONSOLE)
    for way in WAYS:
        with getattr(outage_site, way)():
            began = time.time()
            page = until(
                lambda: AWAY in (page := visitor.get("/pools/")).text and page, f"{way}: the page that says so"
            )
            assert page.status == 200, way
            assert 'data-key="target default"' in page.text
            assert "pm-is-ok pm-verdict" not in page.text
            assert 'class="pm-verdict pm-is-ok"' not in page.text
            assert "Commands and events: unknown, they are in the control database." in page.text
            # What was read of it while all was well serves its viewers for a second.
            unknown = "Unknown: the profiles are in the control database."
            until(lambda unknown=unknown: unknown in visitor.get(TARGET).text, f"{way}: the target's page that says so")
            since = re.search(r"It has been so since (\d\d:\d\d:\d\d)", page.text)
            assert since, way
            began_at = time.strftime("%H:%M:%S", time.gmtime(began - 2))
            assert began_at <= since[1] <= time.strftime("%H:%M:%S", time.gmtime())
            for path in ("/pools/fragment/", "/pools/api/v1/status", "/pools/metrics"):
                began = time.monotonic()
                assert visitor.get(path).status == 200, (way, path)
                assert time.monotonic() - began < 4, (way, path)
            told = visitor.get("/pools/api/v1/processes").json()
            assert [each["role"] for each in told["processes"]] == ["web"]
            assert told["control_error"].startswith("The control database ")
            assert "poolmgr_control_up{} 0\n" in visitor.get("/pools/metrics").text
        until(lambda: is_whole(visitor), f"after {way}: the whole picture", 30)
        assert visitor.get("/admin/").status == 200


@pytest.mark.long
def test_stack_of_who_waits_for_a_frozen_server_is_told_meanwhile(outage_site: OutageSite) -> None:  # P10
    visitor = visitor_of_a_fleet(outage_site, CONSOLE)
    web = outage_site.serve(WEB)
    assert Visitor(web).get("/api/search?q=path").status == 200

    def holders() -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = visitor.get("/pools/api/v1/holders").json()["holders"]
        return found

    def holder_with_stack() -> tuple[str, str] | None:
        # A heartbeat may still have the request before, which was over when the server froze.
        for each in holders():
            address = f"/pools/holders/{each['process']['uid']}/default/{each['checkout']}/"
            if "search" in each["label"] and "Its stack now" in (page := visitor.get(address).text):
                return address, page
        return None

    with outage_site.frozen():
        waiting = Begun(lambda: Visitor(web).get("/api/search?q=path"))
        address, page = until(holder_with_stack, "the holder with its stack", 60)
        assert "cursor.execute" in page or "pgconn" in page or "wait" in page
        assert "in search" in page
        assert visitor.get(address + "end/").status == 503
    waiting.end()


@pytest.mark.long
@pytest.mark.parametrize("command", first_always(WEB, uvicorn("poolmgr.console.asgi:application")), ids=["web", "asgi"])
def test_who_was_let_in_looks_on_wherever_they_are(outage_site: OutageSite, command: list[str]) -> None:  # P10
    visitor = visitor_of_a_fleet(outage_site, command)
    with outage_site.stopped():
        for path in ("/pools/", "/pools/fragment/", "/pools/api/v1/status", "/pools/metrics"):
            assert visitor.get(path).status == 200, path
        # Viewers share what was read in the last second.
        until(lambda: AWAY in visitor.get("/pools/").text, "the outage")
        assert "You look on because you were let in before" in visitor.get("/pools/").text
        [uid] = [each["uid"] for each in visitor.get("/pools/api/v1/processes").json()["processes"]]
        assert "Which settings are the newest is unknown." in visitor.get(f"/pools/processes/{uid}/").text
        log = visitor.get("/pools/events/")
        assert (log.status, "is kept in the control database alone" in log.text) == (503, True)
        for path in ("events", "episodes", "commands", "history/default"):
            answer = visitor.get(f"/pools/api/v1/{path}")
            assert (answer.status, "This is kept there alone." in answer.json()["error"]) == (503, True), path
    until(lambda: is_whole(visitor), "the whole picture", 30)


@pytest.mark.long
def test_acting_waits_and_says_so(outage_site: OutageSite) -> None:
    visitor = visitor_of_a_fleet(outage_site, CONSOLE)
    fields = visitor.get("/pools/confirm/?kind=pause&target=default").form()
    assert "/pools/confirm/" in visitor.get(TARGET).text
    with outage_site.stopped():
        until(lambda: AWAY in visitor.get(TARGET).text, "the outage")
        assert "/pools/confirm/" not in visitor.get(TARGET).text
        settings = visitor.get("/pools/targets/default/settings/")
        assert (settings.status, "in the database that is away" in settings.text) == (503, True)
        for answer in (
            visitor.get("/pools/confirm/?kind=pause&target=default"),
            visitor.post("/pools/command/", fields | {"kind": "pause", "target": "default"}),
            visitor.get("/admin/"),
            visitor.get("/admin/poolmgr/poolprofile/add/"),
        ):
            assert answer.status == 503
            assert "Nobody can be logged in, and nothing can be changed" in answer.text
            assert '<a href="/pools/">Look on at the dashboard</a>' in answer.text
    until(lambda: "/pools/confirm/" in visitor.get(TARGET).text, "the buttons", 30)


def test_strangers_learn_that_they_have_to_wait_and_nothing_else(outage_site: OutageSite) -> None:  # P13
    visitor = visitor_of_a_fleet(outage_site, CONSOLE)
    token = {"Authorization": f"Bearer {outage_site.poolmgr['METRICS_TOKEN']}"}
    session = str(settings.SESSION_COOKIE_NAME)
    assert {session, f"{session}_lookon"} <= set(visitor.cookies)
    with outage_site.stopped():
        until(lambda: AWAY in visitor.get("/pools/").text, "the outage")
        for path in ("/pools/", "/pools/api/v1/status", "/pools/metrics", "/admin/", "/admin/login/"):
            # A session's cookie alone is no pass, and a pass without its session neither.
            for thief in (Visitor(visitor.site), visitor.copy(session), visitor.copy(f"{session}_lookon")):
                answer = thief.get(path)
                # Who has no session is a stranger to the API without anybody being asked.
                assert answer.status == (401 if "/api/" in path and session not in thief.cookies else 503), path
                assert "default" not in answer.text
                assert "nothing listens" not in answer.text
                assert "Look on at" not in answer.text
        assert "poolmgr_control_up{} 0\n" in Visitor(visitor.site).get("/pools/metrics", token).text


@pytest.mark.long
def test_a_copied_pass_ends_with_the_logout(outage_site: OutageSite) -> None:
    visitor = visitor_of_a_fleet(outage_site, CONSOLE)
    kept, thief = visitor.copy(), visitor.copy()
    visitor.post("/admin/logout/", visitor.get("/admin/").form())
    assert not [name for name in visitor.cookies if "lookon" in name]
    with outage_site.stopped():
        until(lambda: thief.get("/pools/").status == 503, "the outage")
        assert kept.get("/pools/api/v1/status").status == 503


@pytest.mark.long
def test_a_lost_permission_ends_the_pass(outage_site: OutageSite) -> None:
    operator = visitor_of_a_fleet(outage_site, CONSOLE)
    viewer = Visitor(operator.site)
    viewer.log_in("viewer")
    copied = viewer.copy()
    # Taken away in the admin by somebody else; the viewer doesn't come by before the database goes.
    people = operator.get("/admin/auth/user/").text
    [address] = set(re.findall(r'href="(/admin/auth/user/\d+/change/)[^"]*">viewer<', people))
    form = operator.get(address).form("_save")
    saved = operator.post(address, {name: text for name, text in form.items() if name != "is_staff"})
    assert saved.url.endswith("/admin/auth/user/"), re.findall(r"errorlist.*", saved.text)
    with outage_site.stopped():
        until(lambda: AWAY in operator.get("/pools/").text, "the outage")
        assert viewer.get("/pools/").status == 503
        assert copied.get("/pools/api/v1/status").status == 503
    until(lambda: operator.get("/admin/").status == 200, "the database", 30)
    operator.post(address, form)


@pytest.mark.long
def test_a_site_whose_middleware_asks_at_every_request_looks_on_too(outage_site: OutageSite) -> None:
    visitor = visitor_of_a_fleet(outage_site, CONSOLE, TEST_STRICT="1")
    with outage_site.stopped():
        for path in ("/pools/", "/pools/fragment/", "/pools/api/v1/status", "/pools/metrics"):
            until(lambda path=path: visitor.get(path).status == 200, path)
        until(lambda: AWAY in visitor.get("/pools/").text, "the outage")
    until(lambda: is_whole(visitor), "the whole picture", 30)


@pytest.mark.long
def test_without_redis_it_says_that_nothing_is_known(outage_site: OutageSite) -> None:
    outage_site.poolmgr["REDIS_URL"] = None
    visitor = visitor_of_a_fleet(outage_site, CONSOLE)
    with outage_site.stopped():
        page = until(lambda: AWAY in (page := visitor.get("/pools/")).text and page, "the page that says so")
        assert "Without Redis, heartbeats are in the control database too." in page.text
        assert "What the processes report" not in page.text
        # Nor what only a site without a pool has to be told.
        assert "Nothing to show yet" not in page.text
        assert "appear here with the first query" not in page.text
    until(lambda: is_whole(visitor), "the whole picture", 30)
