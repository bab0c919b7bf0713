"""The overview in a real browser: one screen, by keys alone, on a phone, and its lists without a page of their own."""

from __future__ import annotations

import random
from typing import Any

import pytest
from msgspec.structs import replace

from poolmgr.metrics.slots import encoded
from poolmgr.metrics.snapshot import Holder, PoolSnapshot
from tests.browser.screens import each_screen
from tests.integration.console import beat, calm
from tests.waiting import until

from .conftest import Page
from .test_dashboard_browser import CONTRAST

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]

TARGETS = ("default", "replica", "cache:default", "search", "billing")


def large_fleet(processes: int = 80) -> None:
    """Real figures of this process, as many processes with some luck have them; two are full."""
    luck, well = random.Random(4), calm()
    for n in range(processes):
        role = "worker" if n % 4 == 0 else "web"
        beat(
            *(_pool(well, target, n in (11, 43) and target == "default", luck) for target in TARGETS),
            uid=f"large-{n}",
            host=f"app-{n // 8}.example.org",
            pid=4000 + n,
            role=role,
        )


def _pool(well: PoolSnapshot, target: str, full: bool, luck: random.Random) -> PoolSnapshot:
    used = 10 if full else luck.randrange(4)
    held = sorted((luck.random() * 60 for _ in range(used)), reverse=True)
    holders = tuple(
        Holder(f"thread-{n}", seconds, 0, label="GET /reports/", checkout=f"{n + 1}.1")
        for n, seconds in enumerate(held)
    )
    return replace(
        well, target=target, max_size=10, limit=10, used=used, idle=0 if full else 2, opening=0, holders=holders,
        pending=6 if full else 0, oldest_wait=3.0 if full else 0.0, oldest_checkout=held[0] if held else 0.0,
        slots=encoded((seconds, "running") for seconds in held),
    )  # fmt: skip


@pytest.fixture
def crowd(page: Page, settings: Any) -> Page:
    # By the usual one, who hasn't reported anew for some seconds is silent, which changes the verdict.
    settings.POOLMGR = {**settings.POOLMGR, "HEARTBEAT_INTERVAL": 60}
    large_fleet()
    page.sign_in("operator")
    return page


def test_eighty_processes_and_five_targets_are_one_screen(crowd: Page) -> None:
    crowd.size(1440, 900)
    crowd.open("/pools/")
    assert "12 requests wait" in crowd.text(".pm-headline")
    assert crowd.run("return document.documentElement.scrollHeight") <= 900
    rows = crowd.texts(".pm-slots li .pm-slot-name")
    assert len(rows) == 80
    # The full ones stand at the beginning, and leap out.
    assert rows[:2] == crowd.texts(".pm-slot-waits .pm-slot-name")
    assert {int(row.split()[-1]) for row in rows[:2]} == {4011, 4043}
    assert len(crowd.all("[data-key='holders'] .pm-holder")) == 5
    assert crowd.complaints() == []


@pytest.mark.long
def test_it_is_worked_by_keys_alone(crowd: Page) -> None:
    def press(keys: str) -> None:
        crowd.driver.switch_to.active_element.send_keys(keys)

    press("j")
    assert crowd.run("return document.activeElement.textContent") == "default"
    press("j")
    press("k")
    assert crowd.run("return document.activeElement.textContent") == "default"
    press("?")
    assert crowd.one("#pm-keys").is_displayed()
    press("\n")
    assert not crowd.one("#pm-keys").is_displayed()
    press("/")
    assert crowd.run("return document.activeElement.name") == "q"
    press("repl\n")
    until(lambda: crowd.texts(".pm-target-name") == ["replica"], "the target that was sought")
    assert crowd.driver.current_url.endswith("/pools/?q=repl")
    crowd.run("document.activeElement.blur()")
    press("j")
    press("\n")
    until(lambda: crowd.driver.current_url.endswith("/pools/targets/replica/"), "its page")
    assert crowd.complaints() == []


def test_a_list_is_filtered_and_turned_in_place_and_the_address_tells_it(crowd: Page) -> None:
    crowd.open("/pools/targets/default/")
    crowd.run("window.marked = true; document.querySelector('.pm-filter [name=role]').value = 'worker'")
    crowd.one(".pm-filter button").click()
    until(lambda: "of 20 processes; 80 in all" in crowd.text("#processes"), "the workers")
    assert "role=worker" in crowd.driver.current_url
    assert crowd.run("return window.marked"), "the page was loaded anew"
    crowd.driver.back()
    until(lambda: "1 to 50 of 80 processes" in crowd.text("#processes"), "all of them")
    # The same address without a script.
    crowd.scripts(False)
    crowd.open("/pools/targets/default/?role=worker&sort=used")
    assert "of 20 processes; 80 in all" in crowd.one("#processes").text
    assert crowd.complaints() == []


@pytest.mark.long
@each_screen
def test_large_fleets_pages_fit_and_can_be_read(crowd: Page, width: int, scheme: str) -> None:
    crowd.size(width)
    crowd.colours(scheme)
    for path in ("/pools/", "/pools/targets/default/", "/pools/targets/default/?holders=all"):
        crowd.open(path)
        assert crowd.run("return document.documentElement.scrollWidth") <= width, path
        assert crowd.run(CONTRAST) == [], path


@pytest.mark.long
def test_a_phone_shows_the_verdict_and_a_line_for_each_target(crowd: Page) -> None:
    crowd.size(390, 844)
    crowd.open("/pools/")
    assert crowd.one(".pm-headline").is_displayed()
    assert all(each.is_displayed() for each in crowd.all(".pm-target-name"))
    assert not crowd.one(".pm-slots").is_displayed()
    assert _top(crowd, ".pm-targets") < 844


def _top(page: Page, selector: str) -> Any:
    return page.run(f"return document.querySelector('{selector}').getBoundingClientRect().top")
