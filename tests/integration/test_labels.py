"""For whom connections are held: a request's view and id, whatever serves it."""

from contextlib import suppress
from threading import current_thread
from typing import Any

import pytest
from asgiref.sync import async_to_sync, sync_to_async
from django.core.signals import request_finished
from django.db import DatabaseError, connection, transaction
from django.http import HttpRequest, JsonResponse, StreamingHttpResponse
from django.test import AsyncClient, Client
from django.urls import path, re_path

from poolmgr.pools.labels import current_label
from tests.integration.console import own_pool
from tests.threads import Begun
from tests.waiting import until

pytestmark = pytest.mark.django_db(transaction=True)


def told(request: HttpRequest) -> list[Any]:
    """Who holds what, while this request does."""
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
            holders = own_pool().snapshot().holders
            return [[each.label, each.request] for each in holders if each.thread == current_thread().name]
    finally:
        connection.close()  # as the end of a request does, which the client leaves out


def page(request: HttpRequest, **kwargs: Any) -> JsonResponse:
    return JsonResponse(told(request), safe=False)


async def awaited(request: HttpRequest) -> JsonResponse:
    return JsonResponse(await sync_to_async(told)(request), safe=False)


def streamed(request: HttpRequest) -> StreamingHttpResponse:
    return StreamingHttpResponse(str(each) for each in (told(request), current_label()))


urlpatterns = [
    path("reports/<int:pk>/<str:token>/", page),
    re_path(r"^old/(?P<name>\w+)/$", page),
    path("awaited/", awaited),
    path("streamed/", streamed),
]


@pytest.fixture(autouse=True)
def _own_urls(settings: Any) -> None:
    settings.ROOT_URLCONF = __name__
    connection.close()  # which the test's set-up has used


def test_holder_is_called_by_method_route_and_the_id_that_its_user_may_know() -> None:
    client = Client()
    found = client.get("/reports/7/secret-token/", headers={"X-Request-Id": "8f3a"}).json()
    assert found == [["GET /reports/<int:pk>/<str:token>/", "8f3a"]]
    assert client.post("/old/name/").json() == [[r"POST /old/(?P<name>\w+)/", ""]]
    # A client's words are neither counted by nor trusted.
    assert client.generic("BREW", "/old/name/").json()[0][0].startswith("OTHER /old/")
    [[_, number]] = client.get("/old/name/", headers={"X-Request-Id": "a\x1b[31m" + "x" * 5000}).json()
    assert number == "a?[31m" + "x" * 94


def test_a_view_that_awaits_passes_its_label_to_the_threads_that_query_for_it() -> None:
    response = async_to_sync(AsyncClient().get)("/awaited/", headers={"X-Request-Id": "1"})
    assert response.json() == [["GET /awaited/", "1"]]


def test_what_streams_is_labelled_until_its_end_and_the_thread_no_longer() -> None:
    response = Client().get("/streamed/")
    assert b"".join(response.streaming_content).endswith(b"GET /streamed/")  # type: ignore[attr-defined]
    response.close()
    request_finished.send(sender=None)
    assert current_label() is None


def test_holder_tells_what_it_is_at_without_the_values() -> None:
    here = current_thread().name

    def seen() -> tuple[str, str]:
        # An agent of this process may hold one too.
        [holder] = [each for each in own_pool().snapshot().holders if each.thread == here]
        return holder.state, holder.statement

    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SELECT %s, 'my secret', 4711 -- why", ["mine"])
        assert seen() == ("in transaction", "SELECT %s, ?, ?")
        with suppress(DatabaseError), transaction.atomic():
            cursor.execute("SELECT 1/0")
        waiting = Begun(lambda: until(lambda: seen()[0] == "running"))
        cursor.execute("SELECT pg_sleep(0.5)")
        waiting.end()
    assert seen()[0] == "idle"
    connection.close()
    with connection.cursor():
        assert seen() == ("idle", "")  # and not what the one before said
