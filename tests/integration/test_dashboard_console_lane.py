"""The console answers when nobody else gets a connection."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from django.db import connection

from poolmgr.control.editing.profiles import save_profile
from poolmgr.exceptions import PoolExhausted, PoolPaused
from poolmgr.models import Command, PoolProfile
from poolmgr.targets.postgresql.managed import ManagedPool

from .console import Browserless, beat, own_fleet, own_pool, person


@pytest.fixture
def console(live_server: Any, settings: Any, redis_server: Any) -> Browserless:
    own_fleet(settings, redis_server)
    return Browserless(live_server.url, person("operator", superuser=True))


@pytest.fixture
def profile(console: Browserless) -> PoolProfile:
    made = PoolProfile(target="default", max_size=5)
    save_profile(made, "operator")
    return made


@pytest.fixture
def exhausted(console: Browserless, profile: PoolProfile) -> Iterator[ManagedPool]:
    """This process's pool, which the live server's threads share, with every connection checked out."""
    pool = own_pool()
    connection.close()
    with ExitStack() as taken:
        for _ in range(pool.snapshot().limit):
            taken.callback(pool.give_back, pool.checkout(5))
        with pytest.raises(PoolExhausted):
            pool.checkout(0.1)
        beat()
        yield pool


@pytest.fixture
def paused(console: Browserless, profile: PoolProfile) -> Iterator[ManagedPool]:
    pool = own_pool()
    connection.close()
    pool.pause()
    try:
        with pytest.raises(PoolPaused):
            pool.checkout(0.1)
        beat()
        yield pool
    finally:
        pool.resume()


PAGES = (
    "/pools/", "/pools/fragment/", "/pools/targets/default/", "/pools/api/v1/status",
    "/pools/confirm/?kind=recycle&target=default", "/admin/",
    "/admin/poolmgr/poolprofile/", "/admin/poolmgr/poolprofile/add/", "/admin/poolmgr/event/",
)  # fmt: skip


@pytest.mark.long
@pytest.mark.parametrize("trouble", ["exhausted", "paused"])
def test_every_page_answers(trouble: str, console: Browserless, request: pytest.FixtureRequest) -> None:  # P10
    request.getfixturevalue(trouble)
    began = time.monotonic()
    assert {page: console.get(page)[0] for page in PAGES} == dict.fromkeys(PAGES, 200)
    assert time.monotonic() - began < 10
    state, page = console.get("/pools/targets/default/")
    assert state == 200
    assert ("Paused" if trouble == "paused" else "connections in use") in page


@pytest.mark.parametrize("trouble", ["exhausted", "paused"])
def test_an_admin_and_a_dashboard_under_other_names_answer(
    trouble: str, console: Browserless, settings: Any, request: pytest.FixtureRequest
) -> None:  # P10
    settings.ROOT_URLCONF = "tests.integration.renamed_urls"
    request.getfixturevalue(trouble)
    pages = ("/ops/", "/ops/poolmgr/poolprofile/", "/ops/poolmgr/event/", "/watch/")
    assert {page: console.get(page)[0] for page in pages} == dict.fromkeys(pages, 200)


@pytest.mark.parametrize("trouble", ["exhausted", "paused"])
def test_the_operator_can_act(
    trouble: str, console: Browserless, profile: PoolProfile, request: pytest.FixtureRequest
) -> None:  # P10
    request.getfixturevalue(trouble)
    state, _page = console.post("/pools/command/", kind="resume", target="default")
    assert state == 302
    values = {name: str(value) for name, value in profile.values().items()}
    state, page = console.post(
        f"/admin/poolmgr/poolprofile/{profile.pk}/change/", **{**values, "max_size": "6", "enabled": "on"}
    )
    assert state == 302, page
    # Read on the lane that the test is about: in this thread the pool has nothing to give.
    _state, listed = console.get("/admin/poolmgr/poolprofile/")
    assert "1 to 6" in listed or "2 to 6" in listed
    _state, events = console.get("/admin/poolmgr/event/")
    assert "max_size 5 → 6" in events
    _state, orders = console.get("/admin/poolmgr/command/")
    assert Command.Kind.RESUME in orders
