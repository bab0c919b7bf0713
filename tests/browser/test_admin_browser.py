"""The lists of the admin in a real browser: nothing is cut off, beside the side bar and on a phone."""

from __future__ import annotations

import pytest

from poolmgr.control.commanding import commands
from poolmgr.control.editing.profiles import save_profile
from poolmgr.models import Command, Event, HealthCheck, PoolProfile
from tests.browser.screens import each_screen
from tests.integration.console import beat

from .conftest import Page
from .test_dashboard_browser import CONTRAST

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]

LISTS = ("poolprofile", "profilerevision", "healthcheck", "event", "command")
QUERY = "SELECT count(*) FROM pg_class WHERE relname LIKE 'docsearch%' AND relkind = 'r'"
AUTHOR = "a.rather.long.name.of.a.person@some.department.example.org"

#: The words in ``arguments[0]`` that a line break tears apart.
TORN = """
const torn = [];
for (const node of document.querySelectorAll(arguments[0])) {
  const texts = document.createTreeWalker(node, NodeFilter.SHOW_TEXT);
  while (texts.nextNode()) {
    for (const word of texts.currentNode.data.matchAll(/[^\\s]+/g)) {
      const range = document.createRange();
      range.setStart(texts.currentNode, word.index);
      range.setEnd(texts.currentNode, word.index + word[0].length);
      if (new Set([...range.getClientRects()].map(r => r.top)).size > 1) torn.push(word[0]);
    }
  }
}
return torn;
"""


@pytest.fixture
def full(page: Page) -> Page:
    """Signed in, with rows of everything that is long somewhere."""
    beat()
    profile = PoolProfile(target="default", max_size=10)
    save_profile(profile, "ann")
    profile.connection_timeout, profile.validation_query, profile.pool_mode = 1.5, QUERY, "transaction"
    save_profile(profile, AUTHOR, "the job queue holds its connections longer than anybody thought")
    save_profile(PoolProfile(target="reports_replica", role="worker"), AUTHOR)
    commands.send(Command.Kind.RECYCLE, "default", AUTHOR)
    Event.objects.create(kind="profile", target="reports_replica", author=AUTHOR, message=f"validation_query {QUERY}")
    HealthCheck.objects.create(
        target="default", state="ok", message="5 of 97 server connections used.", connect_time=0.1234, query_time=0.2345,
        server_used=5, server_max=100, server_reserved=3, ours=5,
    )  # fmt: skip
    HealthCheck.objects.create(target="reports_replica", state="critical", message="The server refuses: " + "so " * 60)
    page.sign_in("operator", "/admin/")
    return page


@pytest.mark.long
@each_screen
def test_no_list_is_cut_off(full: Page, width: int, scheme: str) -> None:
    full.size(width)
    full.colours(scheme)
    profile = PoolProfile.objects.get(target="default")
    pages = [*(f"/admin/poolmgr/{name}/" for name in LISTS), f"/admin/poolmgr/poolprofile/{profile.pk}/history/"]
    for path in pages:
        full.open(path)
        box = full.one(".results, .pm-history")
        assert full.run("return arguments[0].scrollWidth - arguments[0].clientWidth", box) <= 0, path
        assert full.run("return document.documentElement.scrollWidth") <= width, path
        assert full.run(CONTRAST) == [], path
        assert full.complaints() == [], path


@pytest.mark.long
def test_sentences_have_room_beside_the_filter(full: Page) -> None:
    full.size(1280)
    lines = "return arguments[0].getBoundingClientRect().height / 16"
    full.open("/admin/poolmgr/healthcheck/?state__exact=ok")
    assert full.run(lines, full.one("#result_list tbody tr")) < 4
    full.open("/admin/poolmgr/profilerevision/?target=default")
    assert full.run(TORN, ".field-changes_shown, .field-reason") == []
    assert full.run(lines, full.one("#result_list tbody tr")) < 12
    full.open("/admin/poolmgr/event/")
    assert full.run(TORN, ".field-message") == []


def test_a_phone_names_what_the_header_would(full: Page) -> None:
    full.size(375)
    label = "return getComputedStyle(document.querySelector(arguments[0]), '::before').content"
    full.open("/admin/poolmgr/poolprofile/")
    assert "in use / idle / waiting" in full.run(label, ".field-fleet_figures span")
    assert full.one(".field-in_force").is_displayed()
    full.open("/admin/poolmgr/healthcheck/")
    assert "connect" in full.run(label, ".field-connect span")
    full.open(f"/admin/poolmgr/poolprofile/{PoolProfile.objects.get(target='default').pk}/history/")
    named = [full.run(label, f".pm-history tbody tr > :nth-child({n})") for n in range(1, 6)]
    assert named == ['"Revision"', '"When"', '"Who"', '"What changed"', '"Why"']
