"""The demonstration site in a real browser: it fits, it can be read, and the switch and the button need no script."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from django.db import connection

import poolmgr
from poolmgr.backends.async_postgresql.requirement import what_is_missing
from poolsite import environment as env
from poolsite.docsearch import loading
from poolsite.docsearch.standard_library import docstrings
from poolsite.docsearch.ways import VECTORS
from poolsite.reports.engine import TARGET
from tests.browser.screens import each_screen
from tests.integration.serving import served, uvicorn
from tests.waiting import until

from .conftest import Page
from .test_dashboard_browser import CONTRAST

#: The console's pages have a part of that name; these have none.
OF_THE_WHOLE_PAGE = CONTRAST.replace("#content *", "body *")

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]


@pytest.fixture
def site(page: Page, settings: Any, postgres: Any, monkeypatch: pytest.MonkeyPatch) -> Page:
    """With some documents, and no Celery: who has words counted counts them."""
    chosen = list(docstrings(frozenset({"tempfile", "queue", "json"})))
    monkeypatch.setattr(loading, "docstrings", lambda: iter(chosen))
    monkeypatch.setenv("THING", str(postgres.url(connection.settings_dict["NAME"])))
    declared = {"KIND": "sqlalchemy", "URL": env.sqlalchemy_url("THING", "THING"), "POOL": {"connection_timeout": 0.5}}
    vectors = {"KIND": "asyncpg", "DATABASE": "default", "VECTOR": True}
    settings.POOLMGR = {**settings.POOLMGR, "TARGETS": {TARGET: declared, VECTORS: vectors}}
    loading.load_documents()
    return page


@each_screen
def test_pages_fit_and_can_be_read(site: Page, scheme: str, width: int) -> None:
    site.size(width)
    site.colours(scheme)
    for path in ("/?through=sqlalchemy", "/?q=temporary+directory&through=all", "/?q=&through=all", "/reports/"):
        site.open(path)
        _looks_right(site, path, width)
    site.one(".order button").click()
    until(lambda: site.all(".words li"), "the words")
    _looks_right(site, "words", width)
    held = [poolmgr.pool(TARGET).connect() for _ in range(10)]
    site.open("/reports/")
    assert "be counted now" in site.text("main")
    assert site.run("return document.documentElement.scrollWidth") <= width
    for each in held:
        each.close()


@pytest.mark.long
def test_answers_are_streamed_and_can_be_read(site: Page, site_environment: dict[str, str], tmp_path: Path) -> None:
    server = uvicorn("poolsite.asgi:application")
    with served(
        server, {**site_environment, "ASYNC_VIEWS": "1", "POOL_MODE": "transaction"}, tmp_path / "log"
    ) as address:
        for scheme, width in (("light", 1440), ("dark", 1440), ("light", 390), ("dark", 390)):
            site.size(width)
            site.colours(scheme)
            for path in ("/answer/", "/answer/?q=temporary+directory", "/answer/?q=%20"):
                site.driver.get(address + path)
                _looks_right(site, path, width)
        site.driver.get(address + "/answer/?q=queue")
        assert site.text(".way dd") == ("threads" if what_is_missing() else "a task")
        assert len(site.all(".answer h3")) == 3
        assert "In transaction mode" not in site.text(".answer")
        assert {each.text for each in site.all(".bar nav a")} >= {"Answers"}


def _looks_right(site: Page, path: str, width: int) -> None:
    assert site.run("return document.documentElement.scrollWidth") <= width, path
    cut = "return [...document.querySelectorAll('.choices')].filter(each => each.scrollWidth > each.clientWidth).length"
    assert site.run(cut) == 0, path
    assert site.run(OF_THE_WHOLE_PAGE) == [], path
    complaints = [each for each in site.complaints() if " 400 (" not in each]
    assert complaints == [], path


def test_the_switch_needs_no_script_and_stays_for_the_next_question(site: Page) -> None:
    site.scripts(False)
    site.open("/?q=queue")
    site.one(".choices a[href*=sqlalchemy]").click()
    until(lambda: site.driver.current_url.endswith("?q=queue&through=sqlalchemy"), "the switch")
    assert site.one(".choices [aria-current]").text == "SQLAlchemy"
    assert site.one(".way dd").text == "SQLAlchemy"
    field = site.one("#q")
    field.clear()
    field.send_keys("temporary directory")
    site.one(".field button").click()
    until(lambda: "temporary" in site.driver.current_url, "the answer")
    assert site.one(".choices [aria-current]").text == "SQLAlchemy"
    assert "tempfile" in site.one(".results").text


def test_a_question_that_is_refused_keeps_the_way(site: Page) -> None:
    site.open("/?q=%20&through=all")
    assert "Your question is empty" in site.text("#q-error")
    assert site.one(".choices [aria-current]").text == "All"
    assert site.one("[name=through]").get_attribute("value") == "all"
