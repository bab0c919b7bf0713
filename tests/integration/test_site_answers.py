"""Answers word by word: what a page tells of the connection that it had for them."""

import re
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.db import connection
from django.http import Http404
from django.test import AsyncRequestFactory, RequestFactory

from poolmgr.exceptions import PoolExhausted
from poolsite.docsearch import answers, awaiting, loading
from poolsite.docsearch.answering import PASSAGES, Use
from poolsite.docsearch.search import Query, search
from poolsite.docsearch.standard_library import docstrings
from tests.integration.backend import follow

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = list(docstrings(frozenset({"tempfile", "queue"})))
    monkeypatch.setattr(loading, "docstrings", lambda: iter(chosen))
    monkeypatch.setattr("poolsite.docsearch.answering.PACE", 0.005)
    loading.load_documents()
    connection.close()  # as a request does when it ends


def streamed(**query: str) -> tuple[int, list[str]]:
    """The status, and the parts in which the page came."""

    async def read() -> tuple[int, list[str]]:
        response: Any = await answers.page(AsyncRequestFactory().get("/answer/", query))
        if not response.streaming:
            return response.status_code, [response.content.decode()]
        return response.status_code, [part.decode() async for part in response]

    return async_to_sync(read)()


@pytest.mark.parametrize("mode", ["transaction", "session"])
def test_page_says_how_long_a_connection_was_held(few: None, mode: str) -> None:
    follow(pool_mode=mode)
    status, parts = streamed(q="<b>temporary directory")
    page = "".join(parts)
    assert status == 200
    assert len(parts) > 20
    assert page.count("<h3>") == PASSAGES
    assert "“&lt;b&gt;temporary directory”" in page
    assert page.rstrip().endswith("</html>")
    figures = [float(each) for each in re.findall(r"<dd>([\d.]+)<", page)]
    asked, held, took = figures
    assert asked == 1 + PASSAGES
    assert (held < took / 2) is (mode == "transaction")
    assert f"in {mode} mode" in page
    assert "Streamed from threads" in page


def test_pool_that_is_exhausted_is_told_where_the_answer_would_be(few: None, monkeypatch: pytest.MonkeyPatch) -> None:
    async def rows(self: Use, found: Any) -> Any:
        raise PoolExhausted("every connection stayed in use", "default")

    monkeypatch.setattr(Use, "documents", rows)
    status, parts = streamed(q="queue")
    assert status == 200
    assert '<p class="error" role="alert">No connection to the documents could be had in time.' in "".join(parts)


def test_question_that_is_refused_streams_nothing() -> None:
    status, [page] = streamed(q=" ")
    assert status == 400
    assert "Your question is empty" in page
    assert streamed()[0] == 200


def test_process_that_can_not_stream_leads_to_one_that_can(settings: Any) -> None:
    with pytest.raises(Http404):
        answers.elsewhere(RequestFactory().get("/answer/"))
    settings.ANSWERS_URL = "http://127.0.0.1:8001/answer/"
    assert answers.elsewhere(RequestFactory().get("/answer/"))["Location"] == settings.ANSWERS_URL


def test_search_that_awaits_finds_what_threads_find(few: None) -> None:
    query = Query("temporary directory", 5)
    found = async_to_sync(awaiting.search)(query)
    assert [each.pk for each in found.documents] == [each.pk for each in search(query).documents]
    assert found.walked[0].through == "orm"
