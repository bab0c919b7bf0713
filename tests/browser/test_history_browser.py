"""History in a browser: drawn by the script, read without it, in all sizes and colours, and nothing that the policy forbids."""

import pytest
from selenium.webdriver import ActionChains

from poolmgr.models import Event
from tests.browser.conftest import Page
from tests.browser.screens import each_screen
from tests.integration.console import beat, calm
from tests.integration.sampled import Days
from tests.waiting import until

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.long]


@pytest.fixture
def days(page: Page, monkeypatch: pytest.MonkeyPatch) -> Days:
    """Half an hour of figures, with a gap and an edit in it."""
    made = Days(monkeypatch)
    beat(calm())
    for number in range(180):
        made.pass_by(400 if number == 60 else 10)
        made.count(checkouts=50, timeouts=number // 170, **{"wait_time:0.001": 49, "wait_time:0.5": 1})
    Event.objects.create(kind="profile", target="default", author="erika", message="max_size 8 → 4")
    return made


def test_charts_are_drawn_by_the_script_and_nothing_breaks_the_policy(page: Page, days: Days) -> None:
    page.sign_in("operator")
    page.open("/pools/history/?range=1h")
    until(lambda: page.all(".pm-plots[data-drawn] .uplot canvas"), "the charts")
    charts = page.all(".pm-drawing")
    assert len(page.all(".pm-drawing canvas")) == len(charts) >= 5
    assert not page.all(".pm-drawn")
    # Something is painted, and not in one colour only.
    painted = page.run(
        "const c = document.querySelector('.pm-drawing canvas'), d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data;"
        "const found = new Set(); for (let i = 0; i < d.length; i += 4) found.add(d.slice(i, i + 4).join()); return found.size"
    )
    assert painted > 10
    assert page.complaints() == []


def test_what_is_dragged_over_is_shown_next(page: Page, days: Days) -> None:
    page.sign_in("operator")
    page.open("/pools/history/?range=1h")
    until(lambda: page.all(".pm-plots[data-drawn] .u-over"), "the charts")
    over = page.one(".u-over")
    (
        ActionChains(page.driver)
        .move_to_element_with_offset(over, -60, 0)
        .click_and_hold()
        .move_by_offset(60, 0)
        .move_by_offset(60, 0)
        .release()
        .perform()
    )
    until(lambda: "from=" in page.driver.current_url, "the next page")
    assert "range=" not in page.driver.current_url
    assert page.complaints() == []


def test_without_scripts_there_are_drawings_and_tables(page: Page, days: Days) -> None:
    page.scripts(False)
    page.sign_in("operator")
    page.open("/pools/history/?range=1h")
    page.driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})
    assert len(page.all(".pm-drawn")) >= 5
    page.one(".pm-plot-card summary").click()
    assert page.all(".pm-plot-card details[open] tbody tr")
    assert page.complaints() == []


@each_screen
def test_it_fits_every_screen(page: Page, days: Days, width: int, scheme: str) -> None:
    page.size(width)
    page.colours(scheme)
    page.sign_in("operator")
    page.open("/pools/history/?range=1h")
    until(lambda: page.all(".pm-plots[data-drawn]"), "the charts")
    assert page.run("return document.documentElement.scrollWidth <= window.innerWidth")
