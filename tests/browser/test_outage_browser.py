"""An open dashboard, and a fresh one, while the database and then the store go away under them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from selenium.webdriver.support.ui import Select

from poolsite.demo.servers import EmbeddedRedis
from tests.integration.outages import OutageSite, Visitor
from tests.integration.serving import gunicorn
from tests.waiting import until

from .conftest import Page
from .test_dashboard_browser import CONTRAST, GREEN

pytestmark = [pytest.mark.browser, pytest.mark.faults]


@pytest.fixture
def watched(
    chromium: Any, outage_site: OutageSite, make_redis: Callable[[], EmbeddedRedis]
) -> "tuple[Page, EmbeddedRedis]":
    """The dashboard of the console's own process, of a fleet with one web process, on a Redis of its own."""
    redis = make_redis()
    outage_site.poolmgr["REDIS_URL"] = redis.url()
    web = outage_site.serve(gunicorn("poolsite.wsgi", threads=2))
    assert Visitor(web).get("/api/search?q=path").status == 200
    page = Page(chromium, outage_site.serve(gunicorn("poolmgr.console:application", threads=4)))
    page.complaints()  # which the browser keeps of the test before
    page.sign_in("operator")
    Select(page.one("#pm-interval")).select_by_value("2")
    until(lambda: "All is well" in page.text("#pools .pm-headline"), "a good verdict", 20)
    return page, redis


@pytest.mark.long
def test_the_page_says_what_is_down_and_paints_nothing_green(
    watched: "tuple[Page, EmbeddedRedis]", outage_site: OutageSite
) -> None:  # P10
    page, redis = watched
    assert page.run(GREEN)
    with outage_site.stopped():
        until(lambda: "The control database is away" in page.text("#pools .pm-note"), "the note", 10)
        assert "nothing listens at the address" in page.text("#pools .pm-note")
        assert page.run(GREEN.replace("#content *", ".pm-verdict, .pm-verdict *")) == []
        assert not [text for text in page.texts(".pm-button") if text.startswith(("Recycle", "Pause"))]
        # A page that is opened now looks on in a frame that asks for nothing, and can be read.
        page.open("/pools/")
        assert "You look on because you were let in before" in page.text(".pm-note")
        for width, scheme in ((1440, "light"), (1440, "dark"), (390, "light"), (390, "dark")):
            page.size(width)
            page.colours(scheme)
            assert page.run("return document.documentElement.scrollWidth") <= width
            assert page.run(CONTRAST) == []

        page.open("/admin/")
        assert "Look on at the dashboard" in page.text("main")
        page.open("/pools/")
        redis.stop()
        # With the store away too, what was known stays, and is said to be of then.
        until(lambda: page.one("#pm-contact").is_displayed(), "the notice", 15)
        assert page.run(GREEN) == []
        assert "default" in page.text(".pm-targets")

        redis.restart()
        until(lambda: not page.one("#pm-contact").is_displayed(), "the store", 20)
    until(lambda: page.all(".pm-note") == [] or "away" not in page.text("#pools .pm-note"), "the database", 30)
    # The browser's own words on answers with an error; nothing of ours was against the policy.
    assert [each for each in page.complaints() if "503" not in each] == []
