"""From the dashboard to a holder, their stack, and the end of their session, in a browser."""

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.agents import without_agent
from tests.browser.conftest import Page
from tests.browser.screens import each_screen
from tests.integration.holding import Holding, fleet_of_its_own, loiters
from tests.waiting import until

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.long]


@pytest.fixture
def loitering(page: Page, settings: Any, redis_server: Any) -> Iterator[Holding]:
    fleet_of_its_own(settings, redis_server)
    over = threading.Event()
    holding = Holding(lambda: loiters(over))
    holding.is_at("in transaction")
    yield holding
    over.set()
    holding.end()
    without_agent()


def test_without_scripts_a_holder_is_found_looked_into_and_ended(
    page: Page, loitering: Holding, picture: Callable[..., None]
) -> None:
    page.scripts(False)
    page.sign_in("operator")
    until(lambda: page.open("/pools/") or page.all(".pm-holder a"), "the way to the holder")
    page.driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})
    page.open(loitering.address)
    assert "in loiters" in page.text(".pm-stack")
    picture(page, "holder", "light")
    page.one(".pm-form a[href$='/end/']").click()
    assert "End this session?" in page.text("#content h1")
    page.one(".pm-form button").click()
    until(lambda: "Its session was ended." in page.text(".messagelist"), "what became of it")
    assert page.complaints() == []


@each_screen
def test_it_fits_every_screen(page: Page, loitering: Holding, width: int, scheme: str) -> None:
    page.size(width)
    page.colours(scheme)
    page.sign_in("operator")
    for path in ("", "cancel/", "end/"):
        page.open(loitering.address + path)
        assert page.run("return document.documentElement.scrollWidth <= window.innerWidth")
