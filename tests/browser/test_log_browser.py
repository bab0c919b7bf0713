"""What happened, and a process, in a browser: without scripts, on every screen, and nothing that the policy forbids."""

from __future__ import annotations

import pytest

from poolmgr.control.reporting import looks as looking
from tests.browser.conftest import Page
from tests.browser.screens import each_screen
from tests.integration import shop
from tests.integration.test_events_page import an_episode, an_event
from tests.waiting import until

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.long]

PROCESS = f"/pools/processes/{shop.WEB}/"


@pytest.fixture(autouse=True)
def _looks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(looking.looks, "_seen", {})


def test_without_scripts_the_log_is_filtered_and_read_page_by_page(page: Page) -> None:
    for index in range(55):
        an_event(f"edit {index} of bob", index, author="bob", target="cache:default")
    an_episode(5)
    an_event("an order", 200, kind="command")
    page.scripts(False)
    page.sign_in("operator", to="/pools/events/")
    page.driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})
    assert page.texts(".pm-log-said")[0].startswith("Both web processes were full")
    page.one("select[name=kind] option[value=profile]").click()
    page.one("input[name=author]").send_keys("bob")
    page.one(".pm-filters button").click()
    until(lambda: "author=bob" in page.driver.current_url, "the filtered page")
    assert len(page.all(".pm-log tbody tr")) == 50
    page.one("a[rel=next]").click()
    until(lambda: "page=2" in page.driver.current_url, "the next page")
    assert page.texts(".pm-log-said")[-1] == "edit 54 of bob"
    assert page.one("input[name=author]").get_attribute("value") == "bob"
    page.one(".pm-filter-do a").click()
    until(lambda: page.driver.current_url.endswith("/pools/events/"), "all of it")
    page.one(".pm-log-said a").click()
    until(lambda: "/pools/history/?target=default" in page.driver.current_url, "the history around it")
    assert page.complaints() == []


@each_screen
def test_both_fit_every_screen(page: Page, width: int, scheme: str) -> None:
    an_event("a_word_that_is_long_" * 20, target="t" * 120, author="a" * 200)
    shop.open_shop()
    page.size(width)
    page.colours(scheme)
    page.sign_in("operator", to=PROCESS)
    for path in ("/pools/events/", "/pools/events/?q=nothing", PROCESS):
        shop.web()
        page.open(path)
        assert page.run("return document.documentElement.scrollWidth <= window.innerWidth"), path
    assert page.complaints() == []


def test_a_process_leads_to_its_holders_and_a_holder_to_its_process(page: Page) -> None:
    shop.open_shop()
    with shop.answering():
        page.sign_in("operator", to=PROCESS)
        page.one(".pm-holder a").click()
        until(lambda: page.all(".pm-stack"), "the holder")
        page.one("a.pm-place").click()
        until(lambda: page.driver.current_url.endswith(PROCESS), "the process")
