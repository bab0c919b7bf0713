"""The page of one process: what it is, what its pools do and follow, who holds, and what becomes of one that is gone."""

from __future__ import annotations

import re
import time
from typing import Any

import pytest
from django.test import Client
from msgspec.structs import replace

from poolmgr.control.editing.profiles import save_profile
from poolmgr.control.reporting import looks as looking
from poolmgr.models import Event, HealthCheck, PoolProfile

from . import shop
from .console import own_fleet, person, signed_in

pytestmark = pytest.mark.django_db(transaction=True)

PAGE = f"/pools/processes/{shop.WEB}/"


@pytest.fixture(autouse=True)
def _fleet(settings: Any, redis_server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    own_fleet(settings, redis_server)
    monkeypatch.setattr(looking.looks, "_seen", {})


@pytest.fixture
def operator() -> Client:
    return signed_in(person("ann", superuser=True))


def page(client: Client, address: str = PAGE, status: int = 200) -> str:
    answer = client.get(address)
    assert answer.status_code == status
    return re.sub(r"\s+", " ", answer.content.decode())


def test_it_tells_what_the_process_is_and_does_and_who_holds(operator: Client) -> None:
    profile = PoolProfile(target="default", max_size=2)
    save_profile(profile, "ann")
    shop.open_shop()
    told = page(operator)
    for words in (
        "web web1:4711", "gunicorn", "pm-is-critical", shop.WEB,
        "2 in use, 1 of them blocked, 0 idle, 2 at most, 3 waiting",  # the picture, for whoever does not see it
        "pm-cell-used pm-age-3", "pm-dot", "the longest for 6.4 s",
        "GET /reports/&lt;int:pk&gt;/", "8f3a", "idle in transaction", "SELECT * FROM orders", "waits for a lock of GET /reports/",
        f"/pools/holders/{shop.WEB}/default/{shop.CHECKOUT}/",
        f"/pools/confirm/?kind=recycle&amp;target=default&amp;process={shop.WEB}",
        f"/pools/confirm/?kind=pause&amp;target=default&amp;process={shop.WEB}",
        '<a href="/pools/targets/default/"><b>default</b></a>',
        "should follow",  # its revision is not the profile's
    ):  # fmt: skip
        assert words in told, words
    assert "jobs1" not in told


def test_the_newest_settings_are_called_so(operator: Client) -> None:
    profile = PoolProfile(target="default", max_size=2)
    save_profile(profile, "ann")
    made = shop.web()
    pool = replace(made.pools[0], profile=f"profile {profile.pk}", revision=profile.revision)
    shop.older(replace(made, pools=(pool,)), 0)
    told = page(operator)
    assert f"profile {profile.pk} r1, the newest" in told
    assert "<dt>max_size</dt>" in told


def test_a_reader_sees_no_orders_and_no_statements() -> None:  # P13
    shop.open_shop()
    told = page(signed_in(person("viewer", "view_poolprofile")))
    assert "GET /reports/" in told
    for kept in ("/pools/confirm/", "SELECT * FROM orders"):
        assert kept not in told


def test_what_a_process_lacks_is_said(operator: Client) -> None:
    shop.web(problems=("Its settings of cache:default can't be followed.",), control_lost=time.time() - 65)
    told = page(operator)
    assert "can&#x27;t be followed" in told
    assert re.search(r"It has found the control database away for 1 min \d+ s", told)


def test_a_silent_process_is_shown_as_it_was_then(operator: Client) -> None:
    Event.objects.create(kind="command", target="default", author="ann", message=f"pause default in process {shop.WEB}")
    shop.older(shop.web(), 15)
    told = page(operator)
    assert f"pause default in process {shop.WEB}" in told
    assert "pm-process pm-until" in told
    assert re.search(r"Silent for \d+ s; then: ", told)


def test_one_that_is_gone_is_told_with_the_last_events_that_name_it(operator: Client) -> None:
    Event.objects.create(kind="process", message=f"Process {shop.WEB} ended without a word; no heartbeat for 20 s.")
    Event.objects.create(kind="process", message="Process another ended")
    told = page(operator, status=404)
    assert "It is gone" in told
    assert f"Process {shop.WEB} ended without a word" in told
    assert "Process another" not in told
    assert "ended without a word" not in page(signed_in(person("viewer", "view_poolprofile")), status=404)


@pytest.mark.long
def test_hostile_names_are_text(operator: Client) -> None:
    text = "\"><img src=x onerror=alert(1)>'<script>alert(2)</script>"
    made = shop.web(problems=(text,))
    pool = replace(made.pools[0], last_error=text, problem=text, address=text, profile=text, target=text)
    shop.older(replace(made, host=text, name=text, version=text, pools=(pool,)), 0)
    HealthCheck.objects.create(target="default", state="ok", message="well")
    told = page(operator)
    assert "<img" not in told
    assert "<script>alert" not in told
