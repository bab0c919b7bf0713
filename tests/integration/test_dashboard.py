"""The dashboard: who sees it, what it says, and that it says nothing it must not."""

from __future__ import annotations

import os
import re
import signal
import time
from datetime import timedelta
from typing import Any

import pytest
from django.conf import settings as django_settings
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone
from msgspec.structs import replace

from poolmgr.control.commanding import commands
from poolmgr.control.editing.profiles import save_profile
from poolmgr.metrics.snapshot import Ack, Holder
from poolmgr.models import Command, Episode, Event, HealthCheck, PoolProfile

from .console import beat, calm, followed, own_fleet, own_pool, person, signed_in

pytestmark = pytest.mark.django_db(transaction=True)

TARGET = "/pools/targets/default/"
PAGES = ("/pools/", TARGET, "/pools/fragment/", "/pools/confirm/?kind=recycle&target=default")


@pytest.fixture(autouse=True)
def _fleet(settings: Any, redis_server: Any) -> None:
    own_fleet(settings, redis_server)


@pytest.fixture
def operator() -> User:
    return person("operator", superuser=True)


@pytest.fixture
def viewer() -> User:
    return person("viewer", "view_poolprofile")


# -- who may ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", PAGES)
def test_strangers_go_to_the_login(page: str) -> None:
    answer = Client().get(page)
    assert answer.status_code == 302
    assert answer["Location"].startswith("/admin/login/?next=/pools/")


@pytest.mark.parametrize("page", PAGES)
def test_people_who_are_no_staff_are_refused_with_the_reason(page: str) -> None:
    answer = signed_in(person("customer", "view_poolprofile", "change_poolprofile", staff=False)).get(page)
    assert answer.status_code == 403
    assert "This page is for staff" in answer.content.decode()


def test_staff_without_the_permission_is_told_which_one() -> None:
    answer = signed_in(person("clerk")).get("/pools/")
    assert answer.status_code == 403
    assert "poolmgr.view_poolprofile" in answer.content.decode()


@pytest.mark.parametrize(
    ("permissions", "seen"),
    [
        ((), set()),
        (("view_event",), {"event"}),
        (("view_command",), {"command"}),
        (("view_event", "view_command"), {"event", "command"}),
    ],
)
def test_events_and_commands_are_for_whom_the_admin_lets_read_them(
    permissions: tuple[str, ...], seen: set[str]
) -> None:
    sent = commands.send("recycle", "default", "ann of commands")
    Event.objects.filter(kind=Event.Kind.COMMAND).delete()
    Event.objects.create(kind=Event.Kind.PROFILE, target="default", author="bob of events", message="what bob did")
    mine = beat(acks=(Ack(sent.pk, "failed", "what became of it", time.time()),))
    told = {"command": ("Recent commands", "ann of commands", "what became of it"), "event": ("bob of", "what bob did")}
    client = signed_in(person("reader", "view_poolprofile", *permissions))
    pages = "".join(client.get(page).content.decode() for page in (*PAGES[:2], f"/pools/api/v1/processes/{mine.uid}"))
    assert "default" in pages
    for model, words in told.items():
        assert [word in pages for word in words] == [model in seen] * len(words)
        listed = client.get(f"/admin/poolmgr/{model}/")
        assert listed.status_code == (200 if model in seen else 403)


def test_who_sends_a_command_is_told_of_its_progress_only_where_they_may_read_it() -> None:
    beat()
    for name, permissions in (("keeper", ()), ("reader", ("view_command",))):
        client = signed_in(person(name, "view_poolprofile", "change_poolprofile", *permissions))
        order = {"kind": "recycle", "target": "default"}
        page = client.post("/pools/command/", order, follow=True).content.decode()
        assert "Sent: recycle “default”" in page
        assert ("Its progress is told below." in page) is bool(permissions)


def test_who_may_only_view_sees_the_fleet_and_cannot_act(viewer: User) -> None:
    beat()
    client = signed_in(viewer)
    page = client.get("/pools/").content.decode()
    assert "default" in page
    assert "/pools/confirm/" not in page
    assert client.get("/pools/confirm/?kind=recycle&target=default").status_code == 403
    assert client.post("/pools/command/", {"kind": "recycle", "target": "default"}).status_code == 403
    assert not Command.objects.exists()


# -- acting -----------------------------------------------------------------------------------------------------------


def test_a_confirmation_names_target_and_scope_and_orders_nothing(operator: User) -> None:
    mine = beat()
    client = signed_in(operator)
    everywhere = client.get("/pools/confirm/?kind=pause&target=default").content.decode()
    assert re.findall(r"<(\w+)[^>]* autofocus>([^<]+)<", everywhere) == [("a", "No, take me back")]
    assert "Pause “default”?" in everywhere
    assert "all processes: 1 now" in everywhere
    here = client.get("/pools/confirm/", {"kind": "recycle", "target": "default", "process": mine.uid}).content.decode()
    assert f"this process: {mine.host}:{mine.pid}" in here
    assert not Command.objects.exists()


@pytest.mark.parametrize("kind", ["recycle", "pause", "resume"])
def test_a_confirmed_command_is_kept_with_its_author(operator: User, kind: str) -> None:
    mine = beat()
    answer = signed_in(operator).post("/pools/command/", {"kind": kind, "target": "default", "process": mine.uid})
    assert answer.status_code == 302
    command = Command.objects.get()
    assert (command.kind, command.target, command.process, command.author) == (kind, "default", mine.uid, "operator")
    page = signed_in(operator).get("/pools/").content.decode()
    assert "0 of 1 done" in page


def test_a_pause_that_a_resume_overtook_is_not_shown_as_running(operator: User) -> None:
    beat()
    client = signed_in(operator)
    for kind in ("pause", "recycle", "resume"):
        client.post("/pools/command/", {"kind": kind, "target": "default"})
    lines = re.findall(r"pm-progress-(\w+)", client.get(TARGET).content.decode())
    assert lines == ["running", "running", "overruled"]


def test_commands_are_refused_without_a_csrf_token(operator: User) -> None:
    beat()
    answer = signed_in(operator, enforce_csrf_checks=True).post(
        "/pools/command/", {"kind": "pause", "target": "default"}
    )
    assert answer.status_code == 403
    assert not Command.objects.exists()


def test_commands_are_orders_by_post_alone(operator: User) -> None:
    assert signed_in(operator).get("/pools/command/?kind=pause&target=default").status_code == 405


@pytest.mark.parametrize(
    ("order", "reason"),
    [
        (
            {"kind": "explode", "target": "default"},
            "“explode” is no command; there are recycle, pause, resume, kill, disable, enable.",
        ),
        ({"kind": "pause", "target": "nowhere"}, "There is no target “nowhere”."),
        ({"kind": "pause", "target": "default", "process": "gone"}, "That process is gone"),
        ({}, "is no command"),
    ],
)
def test_an_order_that_makes_no_sense_is_refused_with_the_reason(
    operator: User, order: dict[str, str], reason: str
) -> None:
    beat()
    for answer in (
        signed_in(operator).post("/pools/command/", order),
        signed_in(operator).get("/pools/confirm/", order),
    ):
        assert answer.status_code == 400
        page = answer.content.decode()
        assert reason in page
        assert '<a href="/pools/">Back to the dashboard</a>' in page
    assert not Command.objects.exists()


# -- what it says -----------------------------------------------------------------------------------------------------


def test_it_says_what_the_pool_does_and_which_settings_it_follows(viewer: User) -> None:
    profile = PoolProfile(target="default", max_size=7)
    save_profile(profile, "operator")
    HealthCheck.objects.create(
        target="default", state="ok", message="The server answers.", connect_time=0.0042, query_time=0.0003,
        server_used=1031, server_max=2003, server_reserved=3, ours=22, server_version="PostgreSQL 18.0",
    )  # fmt: skip
    HealthCheck.objects.update(at=timezone.now() + timedelta(seconds=30))  # newer than what the page itself sees there
    pool = replace(followed(own_pool().snapshot(), profile), max_size=7, limit=7, used=3, idle=2, oldest_checkout=12.3)
    beat(pool)
    beat(replace(pool, revision=0, profile="bootstrap", used=0), uid="other", role="worker", pid=4712)
    page = " ".join(signed_in(viewer).get(TARGET).content.decode().split())
    assert "1 of 2" in page
    assert "should follow profile" in page
    # Of the role with the least room, since the others' serves none of its requests.
    assert '<span class="pm-big">3</span> <span class="pm-of">of 7, web</span>' in page
    assert "; 3 of 14 in all roles" in page
    assert "<strong>1,031</strong> of 2,000 connections used, <strong>22</strong> ours" in page
    assert "4.2 ms" in page
    assert '<strong title="12.300000 seconds">12 s</strong>' in page


def test_full_web_processes_are_told_first_whatever_room_the_workers_have(viewer: User) -> None:
    pool = replace(calm(), target="busy", max_size=3, limit=3, opening=0, connection_timeout=30.0)
    full = replace(pool, used=3, idle=0, pending=4, oldest_wait=20.0)
    beat(replace(pool, target="away", used=0, idle=1))
    beat(replace(pool, used=0, idle=1), uid="worker-1", role="worker", pid=5001)
    beat(full, uid="web-1", pid=4711)
    beat(replace(full, pending=5), uid="web-2", pid=4712)
    client = signed_in(viewer)
    page = " ".join(client.get("/pools/").content.decode().split())
    said = "9 requests wait, the longest for 20 s of 30 s; both web processes are full (3 of 3 each)."
    assert f">busy: {said}</p>" in page
    assert (
        '<span class="pm-bar-of">6 of 6 <span class="pm-quiet">web</span> <span class="pm-waiters">2 of 2 full' in page
    )
    assert page.count('href="/pools/help/waiting/"') == 1
    # The worst target, and in it the process with the longest queue.
    assert page.index('data-key="target busy"') < page.index('data-key="target away"')
    assert page.index('data-key="slots web-2"') < page.index('data-key="slots web-1"')
    assert page.index('data-key="slots web-1"') < page.index('data-key="slots worker-1"')
    page = " ".join(client.get("/pools/targets/busy/").content.decode().split())
    assert f">{said}</p>" in page
    assert '<span class="pm-big">6</span> <span class="pm-of">of 6, web</span>' in page
    assert '<span class="pm-bar-of">6 of 6</span> <span class="pm-waiters">2 of 2 full</span>' in page
    assert 'aria-label="worker: 0 in use, 1 idle, 2 free to open, 0 waiting"' in page
    assert page.index('data-key="web-2"') < page.index('data-key="web-1"') < page.index('data-key="worker-1"')


def test_what_to_do_is_said_for_each_verdict_to_who_may_look(viewer: User) -> None:
    client = signed_in(viewer)
    page = client.get("/pools/help/exhausted/").content.decode()
    assert "<h1>Requests get no connection</h1>" in page
    assert "Recycling or pausing the pool helps nobody here" in page
    assert client.get("/pools/help/nonsense/").status_code == 404
    assert Client().get("/pools/help/exhausted/").status_code == 302


def test_a_server_that_counts_nothing_still_tells_its_version_and_its_times(viewer: User) -> None:
    HealthCheck.objects.create(
        target="default", state="ok", message="The server answers.", connect_time=0.0042, query_time=0.0003,
        server_version="MariaDB 11.4.2",
    )  # fmt: skip
    HealthCheck.objects.update(at=timezone.now() + timedelta(seconds=30))  # newer than what the page itself sees there
    beat(calm())
    page = " ".join(signed_in(viewer).get(TARGET).content.decode().split())
    assert "The server answers." in page
    assert "connect 4.2 ms" in page
    assert "query 300" in page
    assert "MariaDB 11.4.2" in page
    assert "connections used" not in page
    # A broker is asked nothing.
    HealthCheck.objects.create(target="default", state="ok", message="The server answers.", connect_time=0.0042)
    HealthCheck.objects.filter(query_time=None).update(at=timezone.now() + timedelta(seconds=60))
    page = " ".join(signed_in(viewer).get(TARGET).content.decode().split())
    assert "connect 4.2 ms" in page
    assert "query" not in page


def test_behind_a_pooler_no_holder_has_a_process_that_a_driver_was_told(viewer: User) -> None:
    checked = {
        "target": "default",
        "state": "ok",
        "message": "",
        "server_used": 5,
        "server_max": 100,
        "connect_time": 0.1,
    }
    beat(replace(calm(), used=1, holders=(Holder("main", 2.0, 87654),)))
    HealthCheck.objects.create(**checked, ours=1, server_version="PostgreSQL 18.4")
    HealthCheck.objects.update(at=timezone.now() + timedelta(seconds=30))  # newer than what the page itself sees there
    page = " ".join(signed_in(viewer).get(TARGET).content.decode().split())
    assert "server process 87654" in page
    assert "<strong>1</strong> ours" in page
    HealthCheck.objects.all().delete()
    HealthCheck.objects.create(**checked, behind_pooler=True, server_version="PostgreSQL 18.4")
    HealthCheck.objects.update(at=timezone.now() + timedelta(seconds=30))
    page = " ".join(signed_in(viewer).get(TARGET).content.decode().split())
    assert "87654" not in page
    # Whose connections these are is not known, and not said to be somebody else's.
    assert "</strong> ours" not in page
    assert "PostgreSQL 18.4 behind a pooler" in page


def test_what_nobody_measured_is_a_dash_and_not_a_zero(viewer: User) -> None:
    beat(replace(own_pool().snapshot(), used=0, holders=(), recent_wait_time=type(own_pool().snapshot().wait_time)()))
    page = " ".join(signed_in(viewer).get(TARGET).content.decode().split())
    assert '<dt>Wait p95</dt> <dd><span class="pm-big">\N{EN DASH}</span>' in page
    assert "Nobody has checked this server yet." in page


def test_without_a_process_it_says_what_to_do_next(viewer: User) -> None:
    page = signed_in(viewer).get("/pools/").content.decode()
    assert "No process has opened a pool yet." in page
    assert "manage.py poolcheck" in page


def test_a_profile_whose_target_is_gone_offers_nothing_to_press(operator: User) -> None:
    beat()
    profile = PoolProfile(target="replica")
    save_profile(profile, "operator")
    client = signed_in(operator)
    page = client.get("/pools/targets/replica/").content.decode()
    card = page[page.index('data-key="target replica"') :].partition('data-key="happened"')[0]
    assert "The settings of this site name no such target any more." in page
    assert "/pools/targets/replica/settings/?role=" in card
    assert "/pools/confirm/" not in card
    assert "first query" not in card
    assert "/pools/confirm/?kind=pause&amp;target=default" in client.get(TARGET).content.decode()
    assert "target gone" in client.get("/admin/poolmgr/poolprofile/").content.decode()


def test_all_is_not_well_while_the_last_check_found_the_server_in_trouble(viewer: User) -> None:
    beat(calm())
    client = signed_in(viewer)
    assert "All is well" in client.get("/pools/").content.decode()
    HealthCheck.objects.create(target="default", state="critical", message="The server is nearly full: 96 of 97.")
    page = client.get("/pools/").content.decode()
    assert "All is well" not in page
    assert "default: The server is nearly full: 96 of 97." in page
    # What was found long ago says nothing of now, unless nobody was to look again before.
    HealthCheck.objects.update(at=timezone.now() - timezone.timedelta(minutes=10))
    assert "All is well" in client.get("/pools/").content.decode()
    pool = own_pool().snapshot()
    beat(replace(pool, settings={**pool.settings, "health_check_interval": 300.0}))
    assert "All is well" not in client.get("/pools/").content.decode()


def test_a_trouble_of_the_server_is_told_once_on_its_card(viewer: User) -> None:
    beat(calm())
    said = "The server is nearly full: 94 of 97 server connections used (97%)."
    HealthCheck.objects.create(target="default", state="critical", message=said, server_used=94, server_max=97)
    card = signed_in(viewer).get(TARGET).content.decode().partition('data-key="verdict"')[2]
    assert card.partition('data-key="happened"')[0].count(said) == 1
    HealthCheck.objects.create(target="default", state="critical", message="The server is down.")
    card = signed_in(viewer).get(TARGET).content.decode().partition('data-key="verdict"')[2]
    assert card.partition('data-key="happened"')[0].count("The server is down.") == 1
    assert "The last check failed." in card


def test_without_recent_checks_it_names_celery(viewer: User) -> None:
    beat()
    HealthCheck.objects.create(target="default", state="ok", message="well")
    assert "No recent health check" not in signed_in(viewer).get("/pools/").content.decode()
    HealthCheck.objects.update(at=timezone.now() - timezone.timedelta(minutes=10))
    page = signed_in(viewer).get("/pools/").content.decode()
    assert "No recent health check" in page
    assert "Celery worker" in page


def test_with_redis_down_it_answers_and_says_what_is_lost(viewer: User, make_redis: Any, settings: Any) -> None:  # P11
    server = make_redis()
    settings.POOLMGR = {**settings.POOLMGR, "REDIS_URL": server.url()}
    beat()
    client = signed_in(viewer)
    assert client.get("/pools/").status_code == 200
    server.stop()
    began = time.monotonic()
    page = client.get("/pools/").content.decode()
    assert time.monotonic() - began < 5
    assert "take up to 5 s to reach every process" in page


# -- episodes ---------------------------------------------------------------------------------------------------------


def an_episode(began: float, ended: float | None = None, **more: Any) -> Episode:
    """So many seconds ago."""
    now = timezone.now()
    values = {
        "target": "default",
        "family": "exhausted",
        "code": "exhausted",
        "state": "critical",
        "sentence": "9 wait.",
    }
    return Episode.objects.create(
        **{**values, **more},
        began_at=now - timedelta(seconds=began),
        ended_at=None if ended is None else now - timedelta(seconds=ended),
        seen_at=now - timedelta(seconds=ended or 0),
    )


def clock(moment: Any) -> str:
    return f"{timezone.localtime(moment):%H:%M:%S}"


def test_events_tell_of_episodes_what_goes_on_first(operator: User) -> None:
    beat(calm())
    for n in range(9):
        an_episode(150 + n, 140 + n, family="unreachable", target="often")
    figures = {"full": 2, "of": 3, "failed": 12, "waiting": 9, "longest_wait": 2.5}
    over = an_episode(100, 59, figures=figures, place="2 of 3 web processes")
    goes_on = an_episode(200, target="other", family="paused", code="paused", state="warning")
    an_episode(121, 61, target="", family="store_lost", place="2 of 3 processes", state="warning")
    lost = an_episode(10, 10, family="connections_lost", sentence="6 connections broke at once in 2 processes.")
    Event.objects.create(kind="profile", target="default", author="ann", message="what ann did")
    told = [
        # It goes on while the pages are made.
        rf"other: was paused for \d min \d+ s, since {clock(goes_on.began_at)}, goes on",
        "default what ann did",
        f"default: 6 connections broke at once in 2 processes, at {clock(lost.ended_at)}",
        "default: 2 of 3 web processes were full for 41 s, 12 requests failed, up to 9 waited at once,"
        rf" the longest for 2\.5 s, until {clock(over.ended_at)}",
    ]
    # The first on the overview, and those of the target on its page.
    for path, lines in (("/pools/", told[:3]), (TARGET, told[1:4])):
        page = signed_in(operator).get(path).content.decode()
        text = " ".join(re.sub(r"<[^>]*>", "", re.sub(r"<svg.*?</svg>", "", page, flags=re.DOTALL)).split())
        places = [found.start() if (found := re.search(each, text)) else -1 for each in lines]
        assert -1 not in places, (path, lines, text)
        assert places == sorted(places)


def test_verdict_says_since_when_it_holds_and_what_was_done_just_before(operator: User) -> None:
    beat(replace(calm(), pending=3, oldest_wait=1.0, used=own_pool().snapshot().limit))
    beat(replace(calm(), target="other"), uid="another")
    an_episode(500, target="other")
    assert "pm-since" not in signed_in(operator).get("/pools/").content.decode()
    an_episode(125, why="default (any role) saved: max_size 8 → 3, by operator, 12 s before")
    page = signed_in(operator).get("/pools/").content.decode()
    assert re.search(r'<p class="pm-since">For 2 min \d s, since \d\d:\d\d:\d\d\. <strong>Just before: default', page)
    assert "max_size 8 → 3, by operator, 12 s before.</strong>" in page
    # A good verdict has none, whatever the rows say.
    beat(calm())
    assert "pm-since" not in signed_in(operator).get("/pools/").content.decode()


def test_episodes_are_for_whom_the_admin_lets_read_events(operator: User, viewer: User) -> None:
    beat(replace(calm(), pending=3, oldest_wait=1.0))
    an_episode(60, figures={"failed": 2}, why="what ann did")
    assert "what ann did" in signed_in(operator).get("/pools/").content.decode()
    client = signed_in(viewer)
    assert "what ann did" not in client.get("/pools/").content.decode()
    assert client.get("/admin/poolmgr/episode/").status_code == 403
    assert signed_in(person("reader", "view_event")).get("/admin/poolmgr/episode/").status_code == 200


# -- what it must not say ---------------------------------------------------------------------------------------------

HOSTILE = "\"><img src=x onerror=alert(1)>'<script>alert(2)</script>&{{7*7}}"


def test_hostile_names_are_text_and_not_markup(operator: User) -> None:
    Event.objects.create(kind="command", target=HOSTILE, author=HOSTILE, message=HOSTILE)
    an_episode(9, target=HOSTILE, sentence=HOSTILE, why=HOSTILE, place=HOSTILE, family=HOSTILE[:30], code=HOSTILE[:30])
    HealthCheck.objects.create(target=HOSTILE, state="critical", message=HOSTILE)
    holder = Holder(thread=HOSTILE, seconds=5, backend_pid=1, pinned=HOSTILE)
    pool = replace(
        own_pool().snapshot(), target=HOSTILE, address=HOSTILE, used=1, holders=(holder,), last_error=HOSTILE,
        pool_mode=HOSTILE, profile=HOSTILE, kind=HOSTILE,
    )  # fmt: skip
    mine = beat(pool, uid=HOSTILE[:60], host=HOSTILE, name=HOSTILE, problems=(HOSTILE,))
    client = signed_in(operator)
    for page in ("/pools/", "/pools/fragment/"):
        text = client.get(page).content.decode()
        assert "<img" not in text
        assert "<script>alert" not in text
        assert "&lt;img src=x" in text
    order = {"kind": "pause", "target": HOSTILE, "process": mine.uid}
    text = client.get("/pools/confirm/", order).content.decode()
    assert "<img" not in text
    assert client.post("/pools/command/", order).status_code == 302
    assert "<img" not in client.get("/pools/").content.decode()


def test_no_page_holds_a_secret(operator: User) -> None:  # P13
    beat()
    secrets = {
        django_settings.DATABASES["default"]["PASSWORD"],
        django_settings.SECRET_KEY,
        django_settings.POOLMGR["REDIS_URL"].split("@")[0].rpartition(":")[2],
    }
    client = signed_in(operator)
    pages = [*PAGES, "/admin/", "/admin/poolmgr/", "/admin/poolmgr/poolprofile/", "/admin/poolmgr/poolprofile/add/"]
    for page in pages:
        text = client.get(page).content.decode()
        assert [secret for secret in secrets if len(secret) > 3 and secret in text] == [], page


def test_the_browser_may_load_only_our_own_files(viewer: User) -> None:
    beat()
    answer = signed_in(viewer).get("/pools/")
    policy = answer["Content-Security-Policy"]
    assert "default-src 'self'" in policy
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    page = answer.content.decode()
    assert " style=" not in page
    assert "<style" not in page
    assert " onclick=" not in page
    assert "<script>" not in page
    assert "no-store" in answer["Cache-Control"]


def test_a_redis_that_hangs_costs_the_page_one_timeout(
    operator: User, make_redis: Any, settings: Any
) -> None:  # P8, P11
    server = make_redis()
    settings.POOLMGR = {**settings.POOLMGR, "REDIS_URL": server.url()}
    beat()
    client = signed_in(operator)
    for _ in range(8):
        client.post("/pools/command/", {"kind": "recycle", "target": "default"})
    os.kill(server.pid, signal.SIGSTOP)
    try:
        began = time.monotonic()
        answers = [client.get(page).status_code for page in ("/pools/", "/admin/poolmgr/command/")]
        took = time.monotonic() - began
    finally:
        os.kill(server.pid, signal.SIGCONT)
    assert answers == [200, 200]
    assert took < 6


def test_it_says_why_connections_were_pinned_most_frequent_first(operator: User) -> None:
    seen = own_pool().snapshot()
    beat(replace(seen, pins={"SET": 2}), uid="one")
    beat(replace(seen, pins={"SET": 1, "temporary table": 9}), uid="two")
    page = signed_in(operator).get(TARGET).content.decode()
    assert page.index("<b>9</b> temporary table") < page.index("<b>3</b> SET")


def test_an_edit_in_sql_shows_as_not_yet_applied(operator: User) -> None:
    profile = PoolProfile(target="default")
    save_profile(profile, "operator")
    seen = replace(own_pool().snapshot(), profile=f"profile {profile.pk}", revision=profile.revision)
    beat(replace(seen, settings=profile.values()))
    assert "<strong>1 of 1</strong>" in signed_in(operator).get(TARGET).content.decode()
    PoolProfile.objects.update(idle_timeout=77)
    assert "<strong>0 of 1</strong>" in signed_in(operator).get(TARGET).content.decode()
