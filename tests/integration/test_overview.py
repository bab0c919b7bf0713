"""The first page: the worst first, one screen of it, what to press, and little read for it."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.contrib.auth.models import User
from msgspec.structs import replace

from poolmgr.control.editing.profiles import save_profile
from poolmgr.control.reporting import fleet
from poolmgr.control.store import get_store
from poolmgr.dashboard.reading import picture, shared
from poolmgr.metrics.snapshot import Holder, PoolSnapshot
from poolmgr.models import Episode, PoolProfile, ProfileRevision

from .console import beat, calm, own_fleet, person, signed_in

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _fleet(settings: Any, redis_server: Any) -> None:
    own_fleet(settings, redis_server)


@pytest.fixture
def operator() -> User:
    return person("operator", superuser=True)


def text_of(user: User, path: str = "/pools/") -> str:
    return " ".join(signed_in(user).get(path).content.decode().split())


def full(**more: Any) -> PoolSnapshot:
    return replace(calm(), max_size=3, limit=3, used=3, idle=0, opening=0, pending=4, oldest_wait=2.0, **more)


def test_a_target_without_a_process_takes_no_row(operator: User) -> None:
    beat(calm())
    page = text_of(operator)
    assert re.findall(r'data-key="target ([^"]*)"', page) == ["default"]
    save_profile(PoolProfile(target="unused"), "operator")
    page = text_of(operator)
    assert re.search(r'Not in use:.*<a href="/pools/targets/unused/">unused</a>', page)
    assert re.findall(r'data-key="target ([^"]*)"', page) == ["default"]


@pytest.mark.long
def test_many_targets_are_listed_the_worst_first_and_found_by_name(operator: User) -> None:
    well = replace(calm(), used=0)
    beat(*(replace(well, target=f"shard{n:02}") for n in range(12)), full(target="zz"))
    page = text_of(operator)
    rows = re.findall(r'data-key="target ([^"]*)"', page)
    assert rows[0] == "zz"
    assert len(rows) == 8
    assert ">5 more targets, all well</a>" in page
    assert len(re.findall(r'data-key="target shard', text_of(operator, "/pools/?targets=all"))) == 12
    assert re.findall(r'data-key="target ([^"]*)"', text_of(operator, "/pools/?q=shard11")) == ["shard11"]
    # Whose slots are shown is the reader's choice.
    assert 'Slots <a href="/pools/targets/shard03/">' in text_of(operator, "/pools/?slots=shard03")


def test_the_slots_shown_are_of_the_most_used_target_among_the_worst(operator: User) -> None:
    well = replace(calm(), max_size=10, limit=10, used=1, idle=2, holders=())
    busy = replace(well, target="cache", used=2)
    beat(replace(well, target="archive"), busy, replace(busy, target="search", max_size=20, limit=20, used=4))
    # As full, and more of it.
    assert 'Slots <a href="/pools/targets/search/">' in text_of(operator)
    beat(replace(well, target="archive"), replace(busy, used=5), full(target="zz"))
    assert 'Slots <a href="/pools/targets/zz/">' in text_of(operator)
    beat(
        replace(well, target="archive"),
        replace(busy, used=5),
        replace(full(target="zz"), used=0, pending=0, paused_at=1.0, status="paused"),
    )
    assert 'Slots <a href="/pools/targets/zz/">' in text_of(operator)


def test_a_full_pool_after_an_edit_offers_the_settings_before_it(operator: User) -> None:
    profile = PoolProfile(target="default", max_size=8)
    save_profile(profile, "operator")
    beat(full())
    assert '<a class="pm-button pm-primary" href="/pools/targets/default/#holders">Who holds</a>' in text_of(operator)
    profile.max_size = 3
    save_profile(profile, "operator")
    before = ProfileRevision.objects.get(number=1)
    address = f"/admin/poolmgr/profilerevision/{before.pk}/restore/"
    assert f'<a class="pm-button pm-primary" href="{address}">Restore revision 1</a>' in text_of(operator)
    # It is an edit, for who may edit.
    assert "/restore/" not in text_of(person("viewer", "view_poolprofile"))
    profile.max_size = 9
    save_profile(profile, "operator")
    assert "/restore/" not in text_of(operator)


def test_a_pause_offers_to_resume(operator: User) -> None:
    beat(replace(calm(), status="paused"))
    resume = '<a class="pm-button pm-primary" href="/pools/confirm/?kind=resume&amp;target=default">Resume</a>'
    assert resume in text_of(operator)
    assert "kind=resume" not in text_of(person("viewer", "view_poolprofile"))


def test_holders_are_told_whichever_process_they_are_in(operator: User) -> None:
    """Of a fleet so large that most details stay unread."""
    idle = replace(calm(), used=0, holders=(), oldest_checkout=0.0)
    for n in range(30):
        beat(idle, uid=f"idle-{n}", pid=5000 + n)
    holder = Holder("worker thread", 75.0, 4711, label="GET /reports/<int:pk>/", request="r-17", state="running")
    beat(replace(calm(), used=1, holders=(holder,), oldest_checkout=75.0), uid="zz-last", pid=6001)
    page = text_of(operator)
    assert "GET /reports/&lt;int:pk&gt;/" in page
    assert "r-17" in page
    assert "1 min 15 s" in page
    beat(replace(calm(), used=7, holders=(holder,), oldest_checkout=75.0), uid="zz-last", pid=6001)
    assert "the longest first; 7 in use" in text_of(operator)


def test_details_of_few_are_read_for_it(monkeypatch: pytest.MonkeyPatch, operator: User) -> None:  # P12
    asked: list[int] = []
    real = picture.with_details
    monkeypatch.setattr(picture, "with_details", lambda beats, uids: asked.append(len(uids)) or real(beats, uids))
    for n in range(40):
        beat(calm(), uid=f"one-{n}", pid=5000 + n)
    text_of(operator)
    assert len(get_store().read(details=False).beats) == 40
    assert [number <= 12 for number in asked] == [True]


def test_a_target_s_page_sums_up_that_target_alone(monkeypatch: pytest.MonkeyPatch, operator: User) -> None:  # P12
    summed: list[str] = []
    real = fleet.view_of
    monkeypatch.setattr(fleet, "view_of", lambda target, *rest: summed.append(target) or real(target, *rest))
    beat(calm(), *(replace(calm(), target=f"other-{n}") for n in range(4)))
    assert "other-3" in text_of(operator)
    summed.clear()
    text_of(operator, "/pools/targets/default/")
    assert summed == ["default"]


def test_viewers_of_the_same_second_share_what_was_read(monkeypatch: pytest.MonkeyPatch, operator: User) -> None:  # P12
    monkeypatch.setattr(shared, "SECONDS", 60.0)
    monkeypatch.setattr(picture, "_taken", shared.Shared())
    beat(calm())
    viewer = person("viewer", "view_poolprofile")
    Episode.objects.all().delete()
    pages = [text_of(operator), text_of(operator, "/pools/fragment/")]
    beat(full())
    pages.append(text_of(operator))
    assert ["4 requests wait" in page for page in pages] == [False, False, False]
    # Whoever may see less has a picture of their own.
    assert "4 requests wait" in text_of(viewer)


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("page=0", "page is “0”, and must be a number from 1 on."),
        ("sort=name", "sort is “name”, and must be one of worst, place, used, waiting, oldest, timeouts."),
        ("role=boss", "role is “boss”, and must be one of web, worker, command."),
        ("state=bad", "state is “bad”, and must be one of ok, "),
    ],
)
def test_a_query_that_makes_no_sense_is_refused_with_what_is_allowed(operator: User, query: str, said: str) -> None:
    beat(calm())
    answer = signed_in(operator).get(f"/pools/targets/default/?{query}")
    assert answer.status_code == 400
    assert said in answer.content.decode()


def test_a_target_that_nobody_knows_has_no_page(operator: User) -> None:
    answer = signed_in(operator).get("/pools/targets/nowhere/")
    assert answer.status_code == 404
    assert "There is no target “nowhere”." in answer.content.decode()


@pytest.mark.long
def test_processes_are_listed_by_page_order_and_filter(operator: User) -> None:
    pool = replace(calm(), used=0, pending=0)
    for n in range(60):
        beat(replace(pool, used=n % 4), uid=f"web-{n:02}", pid=5000 + n)
    beat(full(), uid="worker-1", role="worker", pid=7001)

    def rows(query: str = "") -> list[str]:
        found = re.findall(r'<tr data-key="([^"]*)"', text_of(operator, f"/pools/targets/default/?{query}"))
        return [each for each in found if each.startswith(("web-", "worker-"))]

    assert rows()[0] == "worker-1"
    assert len(rows()) == 50
    assert len(rows("page=2")) == 11
    assert rows("role=worker") == ["worker-1"]
    assert rows("q=5007") == ["web-07"]
    assert [int(each[4:]) % 4 for each in rows("sort=used&role=web")[:3]] == [3, 3, 3]
    assert rows("state=warning") == ["worker-1"]
    page = text_of(operator, "/pools/targets/default/?role=web&page=2")
    assert "51 to 60 of 60 processes; 61 in all." in page
    assert '<a href="?role=web#processes">Previous</a>' in page
