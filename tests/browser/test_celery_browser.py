"""Celery's broker and its results in a real browser: their forms and cards fit, in both schemes and on a phone."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from celery import Celery

from poolmgr.control.editing.profiles import bootstrap_profiles, save_profile
from poolmgr.control.reporting.health import check_target
from poolmgr.models import PoolProfile
from poolmgr.pools import registry
from poolmgr.targets.kombu.joining import join
from tests.brokers import close_broker_pools
from tests.browser.screens import each_screen
from tests.integration.console import beat, own_pool
from tests.kinds.celery_work import BACKEND

from .conftest import Page
from .test_dashboard_browser import CONTRAST

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]

#: What the settings name; each test makes it anew.
app: Celery


@pytest.fixture
def celery_site(page: Page, settings: Any, redis_server: Any) -> Iterator[Page]:
    """Signed in, with a task that was sent and whose result is awaited."""
    global app
    app = Celery("site", broker=redis_server.url(13), backend=BACKEND, set_as_current=False)
    declared = {
        "broker": {"KIND": "kombu", "APP": f"{__name__}.app", "POOL": {"max_size": 3}},
        "results": {"KIND": "redis", "URL": redis_server.url(11), "POOL": {"min_size": 0, "max_size": 4}},
    }
    settings.POOLMGR = {**settings.POOLMGR, "TARGETS": declared}
    join()
    awaited = [app.send_task("work.nobody", queue=f"q{uuid.uuid4().hex[:8]}") for _ in range(2)]
    for made in bootstrap_profiles():
        save_profile(made, "ann")
    for target in declared:
        check_target(target).save()
    with app.pool.acquire(block=True):
        beat(own_pool().snapshot(), *_snapshots(declared))
    page.sign_in("operator", "/admin/")
    yield page
    assert len(awaited) == 2
    for target in declared:
        registry.close(target)
    close_broker_pools()
    app.close()
    settings.POOLMGR = {"AGENT": False}
    registry.set_desired({})


def _snapshots(targets: Any) -> list[Any]:
    found = [registry.get(target) for target in targets]
    return [pool.snapshot() for pool in found if pool is not None]


@pytest.mark.long
@each_screen
def test_pages_of_celery_s_targets_fit_and_can_be_read(celery_site: Page, scheme: str, width: int) -> None:
    celery_site.size(width)
    celery_site.colours(scheme)
    profile = PoolProfile.objects.get(target="broker")
    pages = (
        "/admin/poolmgr/poolprofile/add/",
        f"/admin/poolmgr/poolprofile/{profile.pk}/change/",
        "/pools/confirm/?kind=pause&target=broker",
        "/admin/poolmgr/poolprofile/",
        "/pools/",
        "/pools/targets/broker/",
    )
    for path in pages:
        celery_site.open(path)
        celery_site.run("for (const each of document.querySelectorAll('details')) each.open = true")
        if folder := os.environ.get("SHOTS"):
            name = path.strip("/").replace("/", "_").replace("?", "_")
            celery_site.size(width, 2600)
            celery_site.driver.save_screenshot(f"{folder}/{name}-{scheme}-{width}.png")
            celery_site.size(width)
        assert celery_site.run("return document.documentElement.scrollWidth") <= width, path
        assert celery_site.run(CONTRAST) == [], path


@pytest.mark.long
def test_cards_say_who_sends_tasks_and_why_a_broker_is_not_paused(celery_site: Page) -> None:
    cards = {}
    for target in ("results", "broker"):
        celery_site.open(f"/pools/targets/{target}/")
        cards[target] = celery_site.text(".pm-card")
    assert "Redis" in cards["results"]
    assert "No pause: Whoever sends a task would fail" in cards["broker"]
    assert "MainThread" in cards["broker"]
