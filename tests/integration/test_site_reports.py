"""The library in figures: an engine of SQLAlchemy's own, declared as a target."""

import re
from collections import Counter

import pytest
from django.db import connection
from django.test import Client

import poolmgr
from poolmgr.pools import registry
from poolsite import environment as env
from poolsite.docsearch import loading
from poolsite.docsearch.models import Document
from poolsite.docsearch.standard_library import docstrings
from poolsite.reports.chart import bars
from poolsite.reports.engine import TARGET
from poolsite.reports.figures import KINDS, Package, report
from poolsite.reports.tasks import count_words
from tests.agents import without_agent

pytestmark = pytest.mark.django_db(transaction=True)
PACKAGES = frozenset({"tempfile", "json", "queue"})


def declare(settings, url, **pool):
    declared = {"KIND": "sqlalchemy", "URL": url, "POOL": {"max_size": 2, "connection_timeout": 0.5, **pool}}
    settings.POOLMGR = {**settings.POOLMGR, "AGENT": False, "TARGETS": {TARGET: declared}}


@pytest.fixture
def url(postgres, monkeypatch):
    """Of the test's database, as the environment gives the site its own."""
    monkeypatch.setenv("THING", str(postgres.url(connection.settings_dict["NAME"])))
    return env.sqlalchemy_url("NOT_SET", otherwise="THING")


@pytest.fixture(autouse=True)
def declared(settings, url):
    without_agent()
    declare(settings, url)


@pytest.fixture
def loaded(monkeypatch):
    chosen = list(docstrings(PACKAGES))
    monkeypatch.setattr(loading, "docstrings", lambda: iter(chosen))
    loading.load_documents()
    return chosen


def test_counts_what_there_is(loaded):
    found = report()
    assert found.docstrings == len(loaded)
    assert {package.name for package in found.packages} == PACKAGES
    assert found.words == sum(len(re.split(r"\s+", doc.text)) for doc in loaded)
    [package] = [package for package in found.packages if package.name == "json"]
    kinds = Counter(doc.kind for doc in loaded if doc.module.partition(".")[0] == "json")
    assert dict(zip(KINDS, package.kinds, strict=True)) == {kind: kinds[kind] for kind in KINDS}
    sizes = [package.docstrings for package in found.packages]
    assert sizes == sorted(sizes, reverse=True)


def test_nothing_is_counted_of_nothing():
    found = report()
    assert (found.docstrings, found.words, found.words_each, found.packages) == (0, 0, 0.0, ())


def test_the_longest_bar_is_as_wide_as_the_chart():
    long, short = bars([Package("long", (1, 1, 0, 2), 9), Package("short", (0, 0, 1, 0), 9)])
    assert [(part.kind, part.x, part.width) for part in long.parts] == [
        ("class", "0.00%", "25.00%"),
        ("method", "25.00%", "25.00%"),
        ("module", "50.00%", "50.00%"),
    ]
    assert [(part.kind, part.count, part.x, part.width) for part in short.parts] == [("function", 1, "0.00%", "25.00%")]
    assert bars([]) == ()


def test_words_are_counted_once_for_each_docstring(loaded):
    texts = [set(re.split("[^a-z]+", doc.text.lower())) for doc in loaded]
    shared = Counter(word for text in texts for word in text if len(word) >= 6)
    found = dict(count_words()["words"])
    assert len(found) == 24
    assert found == {word: shared[word] for word in found}
    assert min(found.values()) >= max(number for word, number in shared.items() if word not in found)


class TestPage:
    def test_shows_figures_and_the_connection_that_counted(self, client, loaded):
        answer = client.get("/reports/")
        text = answer.content.decode()
        assert answer.status_code == 200
        assert "The 3 packages with the most docstrings" in text
        assert "of which this process holds 1 of 2 connections" in text
        [pid] = re.findall(r"on server process (\d+) of", text)
        assert int(pid) in registry.get(TARGET).snapshot().backend_pids

    def test_takes_none_of_djangos_connections(self, client, loaded):
        before = poolmgr.pool().snapshot().checkouts
        client.get("/reports/")
        assert poolmgr.pool().snapshot().checkouts == before

    def test_writes_nothing(self, client, loaded):
        client.get("/reports/")
        with poolmgr.pool(TARGET).connect() as borrowed:  # what was set for reading is not there for the next
            assert borrowed.exec_driver_sql("SHOW transaction_read_only").scalar() == "off"
        assert Document.objects.count() == len(loaded)

    def test_says_that_it_can_not_count_now(self, client, loaded):  # P9
        held = [poolmgr.pool(TARGET).connect() for _ in range(2)]
        answer = client.get("/reports/")
        assert answer.status_code == 503
        assert answer.headers["Retry-After"] == "5"
        assert "be counted now" in answer.content.decode()
        for each in held:
            each.close()
        assert client.get("/reports/").status_code == 200

    def test_a_server_that_is_away_is_not_told_of(self, client, settings):  # P13
        declare(settings, "postgresql+psycopg://site:planted-Pa55@127.0.0.1:1/site")
        answer = client.get("/reports/")
        assert answer.status_code == 503
        assert "127.0.0.1" not in answer.content.decode()
        assert "planted" not in answer.content.decode()

    def test_without_documents(self, client):
        assert "manage.py load_documents" in client.get("/reports/").content.decode()

    def test_strict_policy_and_nothing_inline(self, client, loaded):
        page = client.get("/reports/")
        assert "unsafe" not in page.headers["Content-Security-Policy"]
        assert not re.search(r"<style|<script| style=", page.content.decode())
        assert client.post("/reports/").status_code == 405
        assert client.get("/reports/words/").status_code == 405
        assert client.get("/reports/words/1/").status_code == 404

    def test_where_nothing_keeps_results_words_are_counted_at_once(self, client, loaded):  # P11
        page = client.post("/reports/words/")
        assert page.status_code == 200
        words = re.findall(r'<li><a href="/\?q=(\w+)">', page.content.decode())
        assert words == [word for word, _number in count_words()["words"]]
        assert "unsafe" not in page.headers["Content-Security-Policy"]

    def test_a_count_that_finds_no_connection_says_so(self, client, loaded):
        held = [poolmgr.pool(TARGET).connect() for _ in range(2)]
        answer = client.post("/reports/words/")
        assert answer.status_code == 503
        assert "be counted now" in answer.content.decode()
        for each in held:
            each.close()

    def test_only_the_site_itself_may_have_words_counted(self, loaded):
        assert Client(enforce_csrf_checks=True).post("/reports/words/").status_code == 403
