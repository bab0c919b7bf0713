"""A PgBouncer in a real browser: its form and its card fit, in both schemes and on a phone."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from math import inf
from typing import Any

import pytest
from msgspec.structs import replace

from poolmgr.control.editing.profiles import bootstrap_profiles, save_profile
from poolmgr.control.reporting.health import check_target
from poolmgr.models import PoolProfile
from poolmgr.pools import registry
from poolmgr.targets.known import manager
from tests.bouncer import Bouncer
from tests.browser.screens import each_screen
from tests.integration.console import beat, own_pool
from tests.waiting import until

from .conftest import Page
from .test_dashboard_browser import CONTRAST

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]

TARGET = "bouncer"
#: What sticks out of its card.
_OUTSIDE = """
return [...document.querySelectorAll('.pm-card')].flatMap(card => [...card.querySelectorAll('fieldset, dl, form, table')].filter(
    each => each.getBoundingClientRect().right > card.getBoundingClientRect().right + 1).map(each => each.className))
"""


@pytest.fixture(scope="module")
def bouncer(make_bouncer: Callable[..., Bouncer]) -> Bouncer:
    return make_bouncer({"app": "", "reports": "pool_size=3"})


@pytest.fixture
def managed(page: Page, bouncer: Bouncer, settings: Any) -> Iterator[Page]:
    """Signed in, with a PgBouncer of which this process has the lead, and a client that holds a connection."""
    declared = {"KIND": "pgbouncer", "URL": bouncer.console_url(), "DATABASES": list(bouncer.databases)}
    settings.POOLMGR = {**settings.POOLMGR, "HEARTBEAT_INTERVAL": 0.2, "TARGETS": {TARGET: declared}}
    pool: Any = registry.get_or_make(TARGET, lambda: manager(TARGET))
    pool.lead(inf)
    with bouncer.client(application_name="a report") as client:
        client.execute("SELECT 1")
        until(lambda: pool.snapshot().holders, "the client to be seen")
        beat(own_pool().snapshot(), pool.snapshot())
        for made in bootstrap_profiles():
            save_profile(made, "ann")
        check_target(TARGET).save()
        page.sign_in("operator", "/admin/")
        bouncer.console("DISABLE reports")
        pool.pause("reports")
        assert pool.settle(10) == ""
        until(lambda: "disabled" in pool.problem, "it to be told")
        beat(own_pool().snapshot(), replace(pool.snapshot(), problem=pool.problem))
        yield page
    registry.close(TARGET)
    bouncer.console("ENABLE reports")
    bouncer.console("RESUME reports")
    settings.POOLMGR = {"AGENT": False}


@pytest.mark.long
@each_screen
def test_the_pages_of_a_pgbouncer_fit_and_can_be_read(managed: Page, scheme: str, width: int) -> None:
    managed.size(width)
    managed.colours(scheme)
    profile = PoolProfile.objects.get(target=TARGET)
    form = f"/admin/poolmgr/poolprofile/{profile.pk}/change/"
    kill = "/pools/confirm/?kind=kill&target=bouncer"
    for path in ("/admin/poolmgr/poolprofile/add/?target=bouncer", form, kill, "/pools/", f"/pools/targets/{TARGET}/"):
        managed.open(path)
        managed.run("for (const each of document.querySelectorAll('details')) each.open = true")
        if folder := os.environ.get("SHOTS"):
            name = path.strip("/").replace("/", "_").replace("?", "_")
            managed.size(width, 1800)
            managed.driver.save_screenshot(f"{folder}/{name}-{scheme}-{width}.png")
            managed.size(width)
        assert managed.run("return document.documentElement.scrollWidth") <= width, path
        assert managed.run(_OUTSIDE) == [], path
        assert managed.run(CONTRAST) == [], path
        assert managed.complaints() == [], path
    [card] = [each for each in managed.all(".pm-card") if each.get_attribute("aria-label") == TARGET]
    assert "a report" in card.text
    assert "Mean wait" in card.text
    assert "reports paused" in card.text
    assert len(card.find_elements("css selector", ".pm-tile")) == 4
