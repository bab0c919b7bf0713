"""Targets of other kinds in a real browser: choosing one, its form and its card fit, in both schemes and on a phone."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from django.core.cache import caches

import poolmgr
from poolmgr.control.editing.profiles import bootstrap_profiles, save_profile
from poolmgr.control.reporting.health import check_target
from poolmgr.models import PoolProfile
from poolmgr.pools import registry
from tests.browser.screens import each_screen
from tests.integration.console import beat, own_pool

from .conftest import Page
from .test_dashboard_browser import CONTRAST

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]

TARGET = "cache:default"


@pytest.fixture
def cached(page: Page, settings: Any, redis_server: Any) -> Iterator[Page]:
    """Signed in, with a cache on a managed pool that somebody holds a connection of."""
    settings.CACHES = {
        "default": {
            "BACKEND": "django.core.cache.backends.redis.RedisCache",
            "LOCATION": redis_server.url(8),
            "OPTIONS": {"pool_class": "poolmgr.targets.redis.caches.CachePool", "POOL": {"max_size": 4, "min_size": 0}},
        }
    }
    caches["default"].set("key", 1)
    pool: Any = poolmgr.pool(TARGET)
    held = pool.get_connection()
    for made in bootstrap_profiles():
        save_profile(made, "ann")
    check_target(TARGET).save()
    beat(own_pool().snapshot(), registry.get(TARGET).snapshot())  # type: ignore[union-attr]
    page.sign_in("operator", "/admin/")
    yield page
    pool.release(held)
    settings.CACHES = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}


@pytest.mark.long
@each_screen
def test_pages_of_another_kind_fit_and_can_be_read(cached: Page, scheme: str, width: int) -> None:
    cached.size(width)
    cached.colours(scheme)
    profile = PoolProfile.objects.get(target=TARGET)
    PoolProfile.objects.filter(pk=profile.pk).update(pool_mode="transaction")
    form = f"/admin/poolmgr/poolprofile/{profile.pk}/change/"
    pages = (
        "/admin/poolmgr/poolprofile/add/",
        "/admin/poolmgr/poolprofile/add/?target=cache%3Adefault",
        form,
        "/pools/",
        "/pools/targets/cache:default/",
        "/admin/poolmgr/poolprofile/",
    )
    for path in pages:
        cached.open(path)
        assert cached.run("return document.documentElement.scrollWidth") <= width, path
        assert cached.run(CONTRAST) == [], path
        assert cached.complaints() == [], path


@pytest.mark.long
def test_a_card_speaks_of_its_kind(cached: Page) -> None:
    cached.open("/pools/targets/cache:default/")
    [card] = [each for each in cached.all(".pm-card") if each.get_attribute("aria-label") == TARGET]
    cached.run("for (const each of document.querySelectorAll('details')) each.open = true")
    said = card.text
    assert re.search(r"client \d+", said), said
    assert re.search(r"\d+ of [\d,]+ connections used", said), said
    assert re.search(r"(Redis|Valkey) \d+\.\d+", said), said
    assert "session" not in said
    cached.open("/pools/targets/default/")
    assert re.search(r"server process \d+", cached.text("main")), said
