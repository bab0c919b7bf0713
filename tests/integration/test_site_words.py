"""Words counted by a real Celery worker, whose results the web process finds: both on a pool of the target `results`."""

import os
import signal
import sys
import threading
import uuid

import pytest
from redis import Redis

from poolmgr.control.commanding.commands import send
from poolsite.demo.browser import Browser
from poolsite.demo.processes import Child
from poolsite.demo.reader import read_figures
from poolsite.docsearch import loading
from poolsite.docsearch.standard_library import docstrings
from tests.integration.serving import ROOT, gunicorn, served
from tests.waiting import until

# Each starts a web server and most of them a worker; what they share is tried by the demo's self-check too.
pytestmark = pytest.mark.long


@pytest.fixture
def redis(make_redis):
    return make_redis()


@pytest.fixture
def environment(site_environment, redis, monkeypatch):
    monkeypatch.setattr(loading, "docstrings", lambda: docstrings(frozenset({"tempfile"})))
    loading.load_documents()
    return {**site_environment, "REDIS_URL": redis.url(), "ALLOWED_HOSTS": "127.0.0.1", "HTTPS": "0"}


@pytest.fixture
def browser(environment, tmp_path):
    with served(gunicorn("poolsite.wsgi"), environment, tmp_path / "web.log") as address:
        yield Browser(address)


@pytest.fixture
def worker_in(tmp_path):
    """worker_in(environment): a Celery worker of the site."""
    made = []

    def one(environment):
        command = ["celery", "-A", "poolsite", "worker", "--pool", "threads", "--concurrency", "1", "--without-mingle"]
        made.append(
            Child("worker", [sys.executable, "-m", *command], log=tmp_path / "w.log", env=environment, cwd=ROOT)
        )

    yield one
    for child in made:
        child.stop(timeout=10)


@pytest.fixture
def worker(environment, worker_in):
    return worker_in(environment)


def ordered(browser):
    """The page to which the button on the figures' page leads."""
    return browser.post("/reports/words/", browser.get("/reports/").form())


def test_a_worker_counts_and_the_page_finds_it(browser, worker):
    page = ordered(browser)
    assert page.status == 200, page.text
    assert "A worker counts." in page.text
    # It looks again without a script, and not for ever.
    assert '<meta http-equiv="refresh" content="1;url=?looked=1">' in page.text
    path = page.url.removeprefix(browser.site)
    assert "?looked=29" in browser.get(f"{path}?looked=28").text
    assert "looked=30" not in browser.get(f"{path}?looked=29").text
    until(lambda: "how many docstrings have them" in browser.get(path).text, "the worker to count", 30)
    assert ">temporary</a>" in browser.get(path).text
    assert read_figures(browser, threading.Event()) == ""


@pytest.fixture
def blind_worker(environment, worker_in):
    return worker_in({**environment, "REPORTS_DATABASE_URL": "postgresql://site:planted-Pa55@127.0.0.1:1/site"})


def test_a_count_that_failed_says_so_and_not_why(browser, blind_worker, redis):  # P13
    path = ordered(browser).url.removeprefix(browser.site)
    until(lambda: "The worker could not count." in browser.get(path).text, "the worker to fail", 40)
    assert "planted" not in browser.get(path).text
    with Redis.from_url(redis.url()) as client:
        kept = b"".join(client.get(key) or b"" for key in client.keys("celery-task-meta-*"))
    assert b"ServerDown" in kept
    assert b"planted" not in kept


def test_a_count_that_nobody_ordered_ends(browser):
    page = browser.get(f"/reports/words/{uuid.uuid4()}/?looked=29")
    assert page.status == 200
    assert "http-equiv" not in page.text
    assert "No worker has counted in time" in page.text


def test_without_redis_the_figures_are_there_and_words_are_not(browser, redis):  # P11
    form = browser.get("/reports/").form()
    redis.stop()
    page = browser.post("/reports/words/", form)
    assert page.status == 503
    assert "No worker can be asked now." in page.text
    page = browser.get(f"/reports/words/{uuid.uuid4()}/")
    assert page.status == 503
    assert "be looked for now" in page.text
    assert browser.get("/reports/").status == 200
    assert browser.get("/api/search?q=directory").status == 200
    redis.restart()
    until(lambda: browser.get(f"/reports/words/{uuid.uuid4()}/").status == 200, "the site to find Redis again")
    assert "A worker counts." in ordered(browser).text


def test_a_site_without_redis_lacks_nothing_but_speed(environment, tmp_path):  # P11
    del environment["REDIS_URL"]
    with served(gunicorn("poolsite.wsgi"), environment, tmp_path / "web.log") as address:
        browser = Browser(address)
        page = ordered(browser)
        assert (page.status, page.url) == (200, f"{address}/reports/words/")
        assert ">temporary</a>" in page.text
        assert read_figures(browser, threading.Event()) == ""
        found = browser.get("/api/search?q=temporary+directory&through=all").json()
        assert found["results"]
        assert browser.get(f"/reports/words/{uuid.uuid4()}/").status == 404
        assert browser.get("/admin/login/").status == 200


def test_a_redis_that_hangs_holds_nobody_up(browser, redis):  # P8
    form = browser.get("/reports/").form()
    browser.get(f"/reports/words/{uuid.uuid4()}/")  # so that a connection is there
    browser.timeout = 20
    os.kill(redis.pid, signal.SIGSTOP)
    try:
        assert browser.get(f"/reports/words/{uuid.uuid4()}/").status == 503
        assert browser.post("/reports/words/", form).status == 503
        assert browser.get("/api/search?q=directory").status == 200
    finally:
        os.kill(redis.pid, signal.SIGCONT)
    until(lambda: browser.get(f"/reports/words/{uuid.uuid4()}/").status == 200, "the site to find Redis again")


def test_results_that_are_paused_hold_nobody_up(browser):  # P8 P9
    form = browser.get("/reports/").form()
    path = f"/reports/words/{uuid.uuid4()}/"
    assert browser.get(path).status == 200
    send("pause", "results", "operator")
    until(lambda: browser.get(path).status == 503, "the pause")
    assert browser.post("/reports/words/", form).status == 503
    assert browser.get("/reports/").status == 200
    send("resume", "results", "operator")
    until(lambda: browser.get(path).status == 200, "the end of the pause")
