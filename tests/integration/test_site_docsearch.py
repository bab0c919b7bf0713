"""Loading and searching on the real server, through the ORM."""

import pytest
from django.core.management import call_command
from django.db import connection
from django.test import override_settings
from sqlalchemy import event

from poolmgr.targets.sqlalchemy import engine
from poolsite.docsearch import loading
from poolsite.docsearch.embedding import DIMENSIONS
from poolsite.docsearch.models import Document
from poolsite.docsearch.search import Query, search
from poolsite.docsearch.standard_library import docstrings
from poolsite.docsearch.ways import VECTORS, WAYS

pytestmark = pytest.mark.django_db


# Read while no agent can log a traceback: in Python before 3.11.8 one of two threads that parse at the same time fails.
FEW = tuple(docstrings(frozenset({"tempfile", "json", "shutil", "queue"})))


@pytest.fixture
def few(monkeypatch):
    """A part of the library, so that a test loads in a moment."""
    chosen = list(FEW)
    monkeypatch.setattr(loading, "docstrings", lambda: iter(chosen))
    return chosen


def test_load_twice_writes_once(few):
    heard = []
    first = loading.load_documents(lambda done, total: heard.append((done, total)))
    assert (first.written, first.unchanged, first.removed) == (len(few), 0, 0)
    assert heard[0] == (0, len(few))
    assert heard[-1] == (len(few), len(few))
    again = loading.load_documents()
    assert (again.written, again.unchanged, again.removed) == (0, len(few), 0)
    assert Document.objects.count() == len(few)


def test_changed_texts_are_written_and_gone_ones_removed(few):
    loading.load_documents()
    Document.objects.filter(qualname="mkdtemp").update(digest="another")
    gone = few.pop()
    result = loading.load_documents()
    assert (result.written, result.removed) == (1, 1)
    assert not Document.objects.filter(module=gone.module, qualname=gone.qualname).exists()


def wrong_size(texts):
    return [[0.5] * 3 for _ in texts]


def test_an_embedder_of_the_wrong_size_is_refused(few):
    with (
        override_settings(DOCSEARCH_EMBEDDER=f"{__name__}.wrong_size"),
        pytest.raises(ValueError, match=f"vectors of 3 numbers; allowed: {DIMENSIONS}"),
    ):
        loading.load_documents()


def test_the_index_is_there_after_a_load(few):
    loading.load_documents()
    with connection.cursor() as cursor:
        cursor.execute("SELECT indexdef FROM pg_indexes WHERE indexname = 'docsearch_embedding'")
        [[definition]] = cursor.fetchall()
    assert "hnsw" in definition
    assert "vector_cosine_ops" in definition


def test_nearest_first(few):
    loading.load_documents()
    answer = search(Query("temporary directory", 5))
    # Their order differs between versions of Python, as their texts do.
    assert {"tempfile.TemporaryDirectory", "tempfile.mkdtemp"} <= {document.name for document in answer.documents}
    similarities = [document.similarity for document in answer.documents]
    assert similarities == sorted(similarities, reverse=True)
    [walked] = answer.walked
    assert walked.checkout_ms >= 0
    assert walked.query_ms > 0


def test_command_says_what_it_did(few, capsys):
    call_command("load_documents")
    assert f"{len(few)} documents: {len(few)} written" in capsys.readouterr().out


class TestPages:
    @pytest.fixture(autouse=True)
    def loaded(self, few):
        loading.load_documents()

    def test_api(self, client):
        answer = client.get("/api/search", {"q": "make a queue", "limit": "3"})
        found = answer.json()
        assert answer.status_code == 200
        assert len(found["results"]) == 3
        [way] = found["ways"]
        assert way["through"] == "orm"
        assert way["checkout_ms"] >= 0
        assert way["query_ms"] > 0
        assert way["server_process"] == connection.connection.info.backend_pid
        assert way["pool"]["target"] == "default"
        assert {"name", "kind", "signature", "similarity", "text", "url"} == set(found["results"][0])

    @pytest.mark.parametrize(
        ("asked", "said"),
        [
            ({}, "q is empty"),
            ({"q": "  \t"}, "q is empty"),
            ({"q": "\0"}, "q is empty"),
            ({"q": "x" * 201}, "q has 201 characters"),
            ({"q": "x", "limit": "0"}, "limit is '0'"),
            ({"q": "x", "limit": "51"}, "limit is '51'"),
            ({"q": "x", "limit": "²"}, "limit is"),
            ({"q": "x", "limit": "1; DROP TABLE"}, "limit is"),
            ({"q": "x", "through": "raw"}, "through is 'raw'"),
        ],
    )
    def test_bad_input_is_a_clear_400(self, client, asked, said):
        answer = client.get("/api/search", asked)
        assert answer.status_code == 400
        assert said in answer.json()["error"]
        assert "Allowed:" in answer.json()["error"]

    @pytest.mark.parametrize(
        "text", ["'; DROP TABLE docsearch_document; --", "%s %(x)s", "日本語", "<script>", "\ud800"]
    )
    def test_odd_queries_are_only_text(self, client, text):
        answer = client.get("/api/search", {"q": text.encode("utf-8", "surrogatepass").decode("utf-8", "replace")})
        assert answer.status_code == 200

    def test_only_reading(self, client):
        assert client.post("/api/search", {"q": "x"}).status_code == 405
        assert client.post("/").status_code == 405

    def test_page(self, client):
        page = client.get("/", {"q": "temporary directory"})
        text = page.content.decode()
        assert page.status_code == 200
        assert "tempfile.TemporaryDirectory" in text
        assert "Checkout" in text
        assert "Vector query" in text

    def test_page_without_a_question(self, client):
        assert "Try" in client.get("/").content.decode()

    def test_page_says_what_is_wrong(self, client):
        page = client.get("/", {"q": "y" * 300})
        assert page.status_code == 400
        assert "Your question has 300 characters" in page.content.decode()

    def test_page_refuses_a_way_that_there_is_not(self, client):
        page = client.get("/", {"through": "raw"})
        assert page.status_code == 400
        assert "Allowed: orm, sqlalchemy, asyncpg, all." in page.content.decode()

    def test_what_visitors_type_is_escaped(self, client):
        odd = '"><script>alert(1)</script>'
        text = client.get("/", {"q": odd}).content.decode() + client.get("/", {"through": odd}).content.decode()
        assert "<script" not in text

    def test_strict_policy_and_nothing_inline_or_from_elsewhere(self, client):
        page = client.get("/", {"q": "json"})
        policy = page.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        text = page.content.decode()
        assert " style=" not in text
        assert "<style" not in text
        assert "<script" not in text
        assert not [part for part in text.split('src="')[1:] if not part.startswith("/static/")]


@pytest.mark.django_db(transaction=True)
class TestWays:
    """The ORM and SQLAlchemy on one pool, asyncpg on its own. Each must see what the others do: the documents are committed."""

    @pytest.fixture(autouse=True)
    def loaded(self, few, small_pool, settings):
        small_pool("session", max_size=1)
        declared = {"KIND": "asyncpg", "DATABASE": "default", "VECTOR": True, "POOL": {"connection_timeout": 5}}
        settings.POOLMGR = {**settings.POOLMGR, "TARGETS": {VECTORS: declared}}
        loading.load_documents()
        connection.close()

    @pytest.mark.parametrize("text", ["temporary directory", "make a queue", "日本語", "%s %(x)s"])
    def test_all_find_the_same(self, text):
        one, *others = (search(Query(text, 10, through)) for through in WAYS)
        assert len(one.documents) == 10
        for other in others:
            for name in ("pk", "name", "kind", "signature", "line", "text", "summary", "url", "digest", "similarity"):
                found = [getattr(each, name) for each in other.documents]
                assert found == [getattr(each, name) for each in one.documents]
            assert all(each.get_deferred_fields() == {"embedding"} for each in (*one.documents, *other.documents))
        assert search(Query(text, 10, "all")).agree

    def test_an_answer_knows_when_they_differ(self):
        answer = search(Query("temporary directory", 3, "all"))
        answer.walked[1].documents.reverse()
        assert not answer.agree

    @pytest.mark.parametrize("mode", ["session", "transaction"])
    def test_all_in_one_request_need_one_connection_of_each_pool(self, client, small_pool, mode):
        small_pool(mode, max_size=1)
        found = client.get("/api/search", {"q": "queue", "through": "all"}).json()
        orm, other, third = found["ways"]
        assert [each["through"] for each in found["ways"]] == ["orm", "sqlalchemy", "asyncpg"]
        assert orm["server_process"] == other["server_process"]
        assert orm["pool"] == other["pool"] == {"target": "default", "held": 1, "max_size": 1}
        assert third["pool"] == {"target": VECTORS, "held": 1, "max_size": 10}

    def test_asyncpg_keeps_its_connection_from_request_to_request(self, client):
        found = [client.get("/api/search", {"q": "queue", "through": "asyncpg"}).json() for _ in range(3)]
        assert len({each["ways"][0]["server_process"] for each in found}) == 1

    def test_what_sqlalchemy_borrowed_is_back_for_the_orm(self, client):
        pid = client.get("/api/search", {"q": "queue", "through": "sqlalchemy"}).json()["ways"][0]["server_process"]
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_backend_pid()")
            assert cursor.fetchone() == (pid,)

    def test_the_index_answers_sqlalchemy_too(self):
        statements = []

        def hear(conn, cursor, statement, parameters, context, executemany):
            statements.append((statement, parameters))

        event.listen(engine(), "before_cursor_execute", hear)
        try:
            search(Query("temporary directory", 3, "sqlalchemy"))
        finally:
            event.remove(engine(), "before_cursor_execute", hear)
        [(statement, parameters)] = statements
        with connection.cursor() as cursor:
            cursor.execute("SET enable_seqscan = off")
            cursor.execute(f"EXPLAIN {statement}", parameters)
            assert "docsearch_embedding" in "".join(line for [line] in cursor.fetchall())

    def test_the_page_switches_and_says_what_each_took(self, client):
        page = client.get("/", {"q": "queue", "through": "all"}).content.decode()
        assert "All found the same, in the same order." in page
        assert page.count("<dt>Server process</dt>") == 3
        assert '<a href="?q=queue&amp;through=all" aria-current="true">All</a>' in page
        assert '<input type="hidden" name="through" value="all">' in page
        assert '<a href="?q=queue&amp;through=orm">' in page
        assert '<input type="hidden" name="through"' not in client.get("/", {"q": "queue"}).content.decode()

    @pytest.mark.parametrize("through", ["orm", "sqlalchemy", "all"])
    def test_an_exhausted_pool_is_said_without_its_innards(self, client, small_pool, through):  # P9
        pool = small_pool("session", max_size=1, connection_timeout=0.2)
        held = pool.checkout()
        try:
            page = client.get("/", {"q": "queue", "through": through})
            answer = client.get("/api/search", {"q": "queue", "through": through})
        finally:
            pool.give_back(held)
        for each in (page, answer):
            assert each.status_code == 503
            assert each.headers["Retry-After"] == "5"
        said = "No connection to the documents could be had in time. Try again in a moment."
        assert answer.json() == {"error": said}
        assert said in page.content.decode()
        assert client.get("/api/search", {"q": "queue", "through": through}).status_code == 200

    def test_a_mode_that_forbids_a_way_is_said(self, client, small_pool):
        small_pool("statement", max_size=1)
        page = client.get("/", {"q": "queue", "through": "sqlalchemy"})
        assert page.status_code == 503
        assert "in statement mode" in page.content.decode()
        answer = client.get("/api/search", {"q": "queue", "through": "all"})
        assert answer.status_code == 503
        assert "in statement mode" in answer.json()["error"]
        assert client.get("/api/search", {"q": "queue"}).status_code == 200
