"""The dashboard in a real browser: it keeps itself fresh, and stays usable while it does."""

from __future__ import annotations

import time
from typing import Any

import pytest
from django.db import connection
from msgspec.structs import replace
from selenium.webdriver.support.ui import Select

from poolmgr.control.commanding import commands
from poolmgr.metrics.snapshot import Holder
from poolmgr.models import Command
from tests.browser.screens import each_screen
from tests.integration.console import beat, calm, own_pool
from tests.waiting import until

from .conftest import Page

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]

IN_USE = ".pm-tile .pm-big"


TARGET = "/pools/targets/default/"
#: How often the page has refreshed.
COUNT = "return performance.getEntriesByType('resource').filter(e => /fragment|part=figures/.test(e.name)).length"


@pytest.fixture
def quick(page: Page) -> Page:
    """The overview with a real pool on it, refreshed as often as a reader may choose."""
    beat(replace(own_pool().snapshot(), used=0, idle=1))
    page.sign_in("operator")
    Select(page.one("#pm-interval")).select_by_value("2")
    return page


@pytest.fixture
def quick_target(quick: Page) -> Page:
    """The page of its target."""
    quick.open(TARGET)
    return quick


def refreshed(page: Page, times: int = 1) -> None:
    before = page.run(COUNT)
    until(lambda: page.run(COUNT) >= before + times and "just now" in page.text("#pm-age"), "a refresh", 10)


def test_the_page_refreshes_by_itself(quick_target: Page) -> None:
    quick_target.run("window.marked = true")
    assert quick_target.text(IN_USE) == "0"
    pool = own_pool()
    connection.close()
    taken = [pool.checkout(5) for _ in range(2)]
    beat()
    try:
        until(lambda: quick_target.text(IN_USE) == "2", "the new figure", 10)
    finally:
        for each in taken:
            pool.give_back(each)
    assert quick_target.run("return window.marked"), "the page was loaded anew"
    assert "updated" in quick_target.text("#pm-age")
    assert quick_target.complaints() == []


def test_a_refresh_keeps_focus_and_what_is_open(quick_target: Page) -> None:
    holder = Holder("GET /search", 3.0, 1)
    pool = replace(own_pool().snapshot(), pins={"SET": 1})
    mine = beat(replace(pool, used=1, holders=(holder,)))
    until(lambda: quick_target.all("details summary"), "the pins", 10)
    quick_target.run(
        "document.querySelector('details').open = true; document.querySelector('.pm-row-actions a').focus()"
    )
    beat(replace(pool, used=4, holders=(replace(holder, seconds=9.0, checkout="2.1"),)))
    beat(replace(pool, used=1), uid="another", pid=1)  # a row appears above
    until(lambda: quick_target.text(IN_USE) == "5", "the new figure", 10)
    assert quick_target.run("return document.querySelector('details').open")
    # Nine when it was reported, and older with every refresh.
    assert int(quick_target.text(".pm-holders b").removesuffix(" s")) >= 9
    assert quick_target.run("return document.activeElement.closest('tr')?.dataset.key") == mine.uid


@pytest.mark.long
def test_only_a_changed_verdict_is_announced(quick: Page) -> None:
    # Reported again as a process does, since one that is silent changes the verdict.
    beat(calm())
    refreshed(quick)
    quick.run(
        "window.announced = 0; new MutationObserver(list => { window.announced += list.length })"
        ".observe(document.querySelector('[aria-live=polite]'), {subtree: true, childList: true, characterData: true})"
    )
    for _ in range(2):
        beat(calm())
        refreshed(quick)
    assert quick.run("return window.announced") == 0
    beat(replace(own_pool().snapshot(), used=8, pending=3))
    until(lambda: quick.run("return window.announced") > 0, "the announcement", 10)
    assert "wait" in quick.text(".pm-headline")


@pytest.mark.long
def test_the_chosen_interval_is_remembered(quick: Page) -> None:
    quick.open("/pools/")
    assert quick.one("#pm-interval").get_attribute("value") == "2"
    refreshed(quick)


@pytest.mark.long
def test_a_hidden_page_asks_nothing(quick: Page) -> None:
    refreshed(quick)
    hide = "Object.defineProperty(document, 'hidden', {value: %s, configurable: true});"
    quick.run(hide % "true" + "document.dispatchEvent(new Event('visibilitychange'))")
    time.sleep(0.5)
    before = quick.run(COUNT)
    time.sleep(3)
    assert quick.run(COUNT) == before
    quick.run(hide % "false" + "document.dispatchEvent(new Event('visibilitychange'))")
    until(lambda: quick.run(COUNT) > before, "the refresh on coming back", 2)


@pytest.mark.long
def test_a_lost_connection_takes_the_verdicts_place_and_recovers(quick: Page) -> None:  # P10
    beat(calm())
    until(lambda: "All is well" in quick.text("#pools .pm-headline"), "a good verdict", 10)
    assert quick.run(GREEN)
    read_at = quick.text(".pm-at")
    quick.offline(True)
    until(lambda: "connection lost" in quick.text("#pm-age"), "the notice", 10)
    assert quick.one("#pm-contact").is_displayed()
    assert "Contact lost. Everything below was known until" in quick.text("#pm-contact .pm-said")
    assert quick.text("#pm-contact .pm-quiet").startswith("Last known: All is well")
    assert not quick.one("#pools .pm-verdict").is_displayed()
    assert quick.run(GREEN) == []
    assert {label.split(" ")[0] for label in quick.run(LABELS)} == {"known"}
    assert quick.one(".pm-reload").is_displayed()
    assert read_at <= quick.text("#pools .pm-at")
    quick.offline(False)
    until(lambda: "updated" in quick.text("#pm-age"), "the recovery", 10)
    assert quick.one("#pools .pm-verdict").is_displayed()
    assert not quick.one("#pm-contact").is_displayed()
    assert quick.run(GREEN)
    assert "ok" in quick.run(LABELS)


@pytest.mark.long
def test_figures_that_no_answer_renews_are_not_of_now(quick: Page) -> None:  # P10
    """A server whose threads are all used up refuses nothing: it only never answers."""
    beat(calm())
    until(lambda: "All is well" in quick.text("#pools .pm-headline"), "a good verdict", 10)
    quick.slow(60)
    until(lambda: "No answer yet:" in quick.text("#pm-contact .pm-said"), "the notice", 12)
    assert quick.run(GREEN) == []
    quick.slow(0)
    until(lambda: not quick.one("#pm-contact").is_displayed(), "the recovery", 30)


@pytest.mark.long
def test_a_page_that_slept_says_so_before_anything_else(quick: Page) -> None:
    beat(calm())
    until(lambda: "All is well" in quick.text("#pools .pm-headline"), "a good verdict", 10)
    quick.slow(60)
    # The machine slept for an hour: its steady clock stood still, and the wall clock did not.
    quick.run("const real = Date.now; Date.now = () => real() + 3600000")
    quick.run("document.dispatchEvent(new Event('visibilitychange'))")
    assert quick.one("#pm-contact").is_displayed()
    assert quick.run(GREEN) == []
    assert "60 min" in quick.text("#pm-age")


@pytest.mark.long
def test_a_session_that_ended_is_told(quick: Page) -> None:
    quick.driver.delete_all_cookies()
    until(lambda: "signed out" in quick.text("#pm-age"), "the notice", 10)
    assert "You are signed out. Everything below was known until" in quick.text("#pm-contact .pm-said")
    assert quick.run(GREEN) == []


@pytest.mark.long
def test_what_a_silent_process_said_last_makes_nothing_well(quick_target: Page) -> None:
    beat(calm())
    beat(calm(), uid="silent", pid=4712, at=time.time() - 15)
    until(lambda: "silent" in quick_target.text("#pools .pm-headline"), "the verdict", 10)
    assert "1 of 2 silent. Last known of all:" in quick_target.text("#pools .pm-headline")
    assert quick_target.run("return document.querySelectorAll('tr.pm-until').length") == 1
    for part in ("tr.pm-until", ".pm-tiles", ".pm-use", ".pm-facts"):
        assert quick_target.run(GREEN.replace("#content *", f"{part}, {part} *")) == [], part
    assert quick_target.run(GREEN.replace("#content *", "tr:not(.pm-until) *")), "who reports is known"
    assert quick_target.run(GREEN.replace("#content *", ".pm-verdict, .pm-verdict *")) == []


def test_without_scripts_it_reads_and_acts(page: Page) -> None:
    mine = beat(calm())
    page.sign_in("operator")
    page.scripts(False)
    page.open("/pools/")
    assert "All is well" in page.one(".pm-headline").text
    assert page.one(".pm-reload").is_displayed()
    assert not page.one("#pm-interval").is_displayed()
    page.one(".pm-target-name").click()
    page.one(".pm-row-actions a").click()
    assert f"this process: {mine.host}:{mine.pid}" in page.one(".pm-pairs").text
    page.one("button.pm-button").click()
    assert "Sent: recycle “default”" in page.one(".messagelist").text
    command = Command.objects.get()
    assert (command.kind, command.process) == ("recycle", mine.uid)


@pytest.mark.parametrize("kind", ["pause", "recycle", "resume"])
def test_enter_on_a_confirmation_orders_nothing(page: Page, kind: str) -> None:
    """Whoever presses it without having read is taken back: the safe way has the focus, and shows it."""
    beat(calm())
    page.sign_in("operator")
    page.open(f"/pools/confirm/?kind={kind}&target=default")
    assert page.run("return document.activeElement.textContent") == "No, take me back"
    assert page.run("return document.activeElement.matches(':focus-visible')")
    page.driver.switch_to.active_element.send_keys("\n")
    until(lambda: page.driver.current_url.endswith("/pools/"), "the dashboard")
    assert not Command.objects.exists()


def test_hostile_names_run_nothing(page: Page) -> None:
    hostile = "<img src=x onerror='window.hacked=1'><script>window.hacked=1</script>"
    beat(replace(own_pool().snapshot(), target=hostile, holders=(Holder(hostile, 1, 1),), used=1), host=hostile)
    page.sign_in("operator")
    Select(page.one("#pm-interval")).select_by_value("2")
    refreshed(page)
    assert page.run("return window.hacked") is None
    assert page.all("#pools img, #pools script") == []
    assert hostile in page.text(".pm-targets")


@pytest.mark.long
@each_screen
@pytest.mark.parametrize("addresses", ["poolsite.urls", "tests.integration.adminless_urls"])
def test_it_fits_every_screen_and_can_be_read(
    page: Page, width: int, scheme: str, addresses: str, settings: Any
) -> None:
    pool = replace(
        own_pool().snapshot(), used=8, pending=1234, recent_timeouts=3, profile="profile 9", last_error="x " * 99
    )
    beat(pool, host="a-rather-long-host-name-of-a-container-0123456789")
    for kind in (Command.Kind.PAUSE, Command.Kind.RESUME):  # the longest thing to say of a command: overruled
        commands.send(kind, "nobody has this", "a.rather.long.name.of.a.person@some.department.example.org")
    page.sign_in("operator")
    page.size(width)
    page.colours(scheme)
    settings.ROOT_URLCONF = addresses
    for address in ("/pools/", TARGET):
        page.open(address)
        assert "1,234 requests wait" in page.text(".pm-headline")
        assert page.run("return document.documentElement.scrollWidth") <= width, address
        assert page.run(CONTRAST) == [], address
        assert page.complaints() == [], address


#: The labels of the marks that stand before sentences.
LABELS = "return [...document.querySelectorAll('#pools .pm-icon')].map(icon => icon.getAttribute('aria-label'))"

#: What has the colour of things that are well.
GREEN = """
const probe = document.createElement('i');
document.querySelector('#pm-refresh').append(probe);
const good = ['--pm-ok', '--pm-ok-bg'].map(name => {
  probe.style.setProperty('color', `var(${name})`);
  return getComputedStyle(probe).color;
});
probe.remove();
return [...document.querySelectorAll('#content *')].filter(node => {
  const style = getComputedStyle(node);
  return node.getClientRects().length
    && [style.color, style.backgroundColor, style.fill, style.borderLeftColor].some(each => good.includes(each));
}).map(node => node.outerHTML.slice(0, 80));
"""

#: The texts whose contrast to what lies behind them is below WCAG's 4.5 (3 for large ones).
CONTRAST = """
const channel = c => (c /= 255) <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
const parse = css => css.match(/[\\d.]+/g).map(Number);
const light = ([r, g, b]) => 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
const behind = node => {
  for (; node; node = node.parentElement) {
    const [r, g, b, a = 1] = parse(getComputedStyle(node).backgroundColor);
    if (a) return [r, g, b];
  }
  return [255, 255, 255];
};
const bad = [];
for (const node of document.querySelectorAll('#content *')) {
  const own = [...node.childNodes].some(n => n.nodeType === 3 && n.nodeValue.trim());
  if (!own || !node.getClientRects().length || node.closest('.visually-hidden, option')) continue;
  const style = getComputedStyle(node), [a, b] = [light(parse(style.color)), light(behind(node))].sort((x, y) => y - x);
  const ratio = (a + 0.05) / (b + 0.05);
  if (ratio < (parseFloat(style.fontSize) >= 24 ? 3 : 4.5)) bad.push(node.className + ' ' + ratio.toFixed(2) + ' ' + node.textContent.slice(0, 40));
}
return bad;
"""
