"""The form of a profile in a real browser: few fields first, what a save would lead to before it, by the keyboard alone."""

from __future__ import annotations

import pytest
from selenium.webdriver.common.keys import Keys

from poolmgr.control.editing.profiles import save_profile
from poolmgr.models import HealthCheck, PoolProfile
from tests.browser.screens import each_screen
from tests.integration.console import beat
from tests.waiting import until

from .conftest import Page
from .test_dashboard_browser import CONTRAST

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True), pytest.mark.long]

CONSOLE = "/pools/targets/default/settings/"


@pytest.fixture
def form(page: Page) -> Page:
    """Signed in, with a profile and a server that has room for ten."""
    beat()
    save_profile(PoolProfile(target="default", max_size=8, idle_timeout=60), "ann")
    HealthCheck.objects.create(
        target="default", state="ok", message="", server_used=87, ours=0, server_max=100, server_reserved=3
    )
    page.sign_in("operator")
    return page


def addresses() -> tuple[str, str]:
    return CONSOLE, f"/admin/poolmgr/poolprofile/{PoolProfile.objects.get().pk}/change/"


def ask_for(page: Page, size: int) -> None:
    field = page.one("[name=max_size]")
    field.clear()
    field.send_keys(str(size))


@each_screen
def test_the_form_fits_and_can_be_read(form: Page, width: int, scheme: str) -> None:
    form.size(width)
    form.colours(scheme)
    for path in addresses():
        form.open(path)
        assert form.run("return document.documentElement.scrollWidth") <= width, path
        assert form.run(CONTRAST) == [], path
        ask_for(form, 500)
        form.one("[name=_foresee]").click()
        until(lambda: "are more than the 10" in form.text("#pm-foreseen"), "the consequences")
        assert form.run("return document.documentElement.scrollWidth") <= width, path
        assert form.run(CONTRAST) == [], path
        assert form.complaints() == [], path


def test_few_fields_come_first(form: Page) -> None:
    form.size(1440)
    height = "return Math.max(...[...document.querySelectorAll('.pm-set')].map(n => n.getBoundingClientRect().bottom))"
    for path in addresses():
        form.open(path)
        form.run("for (const each of document.querySelectorAll('details')) each.open = false")
        assert form.run(height) < 1100, path
        form.open(path)
        opened = [each.find_element("css selector", "h2").text for each in form.all(".pm-set details[open]")]
        assert opened == ["Lifetimes"], path


@pytest.mark.parametrize("admin", [False, True])
def test_what_would_happen_is_asked_without_leaving_the_form_and_confirmed_by_the_keyboard(
    form: Page, admin: bool
) -> None:
    form.open(addresses()[admin])
    form.run("window.marked = true")
    ask_for(form, 500)
    form.one("[name=_foresee]").send_keys(Keys.ENTER)
    until(lambda: form.all("#pm-foreseen [name=confirmed]"), "the box")
    assert form.run("return window.marked"), "the page was loaded anew"
    # What stands there is of other values as soon as somebody types.
    ask_for(form, 600)
    assert form.text("#pm-foreseen") == ""
    form.one("[name=max_size]").send_keys(Keys.ENTER)
    until(lambda: not form.run("return window.marked ?? false") and form.all("[name=confirmed]"), "the question")
    assert form.text("[role=alert]").startswith("Nothing was saved yet: one consequence is to be confirmed.")
    assert PoolProfile.objects.get().max_size == 8
    form.one("[name=confirmed]").send_keys(Keys.SPACE)
    form.one("[name=max_size]").send_keys(Keys.ENTER)
    until(lambda: PoolProfile.objects.get().max_size == 600, "the save")
    assert form.complaints() == []


@pytest.mark.parametrize("admin", [False, True])
def test_it_works_without_scripts(form: Page, admin: bool) -> None:
    form.scripts(False)
    form.open(addresses()[admin])
    form.one("[name=max_size]").send_keys(Keys.END, "0")  # 80
    form.one("[name=_foresee]").click()
    form.one("[name=confirmed]").click()
    assert PoolProfile.objects.get().max_size == 8
    form.one("[name=_save]").click()
    until(lambda: PoolProfile.objects.get().max_size == 80, "the save")
