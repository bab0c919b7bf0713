"""The page of one checkout: who has it, their stack now, and what may be done about it."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from django.contrib.auth.models import User
from django.db import DatabaseError, connection
from django.db.utils import OperationalError
from django.test import Client

from poolmgr.control.pruning import prune
from poolmgr.models import Event, Message
from tests.agents import without_agent
from tests.integration.holding import Holding, fleet_of_its_own, loiters, sleeps
from tests.waiting import until

from .console import own_pool, person, signed_in

pytestmark = pytest.mark.django_db(transaction=True)

ROWS = pytest.param("rows", marks=pytest.mark.long)


@pytest.fixture(autouse=True, params=["redis", ROWS])
def _fleet(request: pytest.FixtureRequest, settings: Any, redis_server: Any) -> Iterator[None]:
    fleet_of_its_own(settings, redis_server, **({"REDIS_URL": None} if request.param == "rows" else {}))
    yield
    without_agent()


@pytest.fixture
def operator() -> User:
    return person("operator", superuser=True)


@pytest.fixture
def loitering() -> Iterator[Holding]:
    over = threading.Event()
    holding = Holding(lambda: loiters(over))
    holding.is_at("in transaction")
    yield holding
    over.set()
    holding.end()


def text_of(client: Client, address: str) -> str:
    return client.get(address).content.decode()


def test_page_tells_who_holds_it_with_their_stack_now_and_none_of_their_values(  # P13
    operator: User, loitering: Holding
) -> None:
    client, address = signed_in(operator), loitering.address
    page = text_of(client, address)
    for told in ("GET /reports/", "8f3a", "idle in transaction", "SELECT ?", "in loiters", "over.wait(30)", "holding"):
        assert told in page, told
    assert f"server process {loitering.told.backend_pid}" in page
    assert "a value that is mine" not in page
    until(lambda: address in text_of(client, "/pools/"), "the way to it")


@pytest.mark.long
def test_without_the_permission_neither_statements_nor_stacks_are_told(loitering: Holding) -> None:
    page = text_of(signed_in(person("viewer", "view_poolprofile")), loitering.address)
    assert "GET /reports/" in page
    assert "poolmgr.read_statements" in page
    for kept in ("SELECT ?", "in loiters", "Cancel its statement"):
        assert kept not in page


@pytest.mark.long
def test_holder_that_is_gone_is_told_with_what_was_known_of_it(operator: User) -> None:
    over = threading.Event()
    holding = Holding(lambda: loiters(over))
    holding.is_at("in transaction")
    client, address = signed_in(operator), holding.address
    assert "in loiters" in text_of(client, address)
    over.set()
    assert holding.end() is None
    page = text_of(client, address)
    for told in ("It is over", "GET /reports/", "as somebody saw it last", "in loiters"):
        assert told in page, told
    assert "Cancel its statement" not in page
    answer = client.post(address + "end/")
    assert (answer.status_code, "It is over" in answer.content.decode()) == (409, True)
    assert not Event.objects.filter(author="operator").exists()
    never = client.get(re.sub(r"[^/]+/$", "999999.7/", address))
    assert (never.status_code, "Nothing more is known" in never.content.decode()) == (404, True)


def test_cancelled_statement_fails_its_request_alone_and_the_connection_serves_on(operator: User) -> None:
    caught: list[BaseException] = []

    def work() -> None:
        connection.ensure_connection()
        pid = connection.connection.info.backend_pid
        try:
            sleeps()
        except DatabaseError as error:
            caught.append(error)
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_backend_pid()")
            assert cursor.fetchone() == (pid,)

    holding = Holding(work)
    holding.is_at("running")
    address, client = holding.address, signed_in(operator)
    asked = text_of(client, address + "cancel/")
    assert "Cancel this statement?" in asked
    assert re.findall(r"<(\w+)[^>]* autofocus>([^<]+)<", asked) == [("a", "No, take me back")]
    assert not caught
    assert "Its statement was cancelled." in client.post(address + "cancel/", follow=True).content.decode()
    until(lambda: caught, "the error")
    assert isinstance(caught[0].__cause__, psycopg.errors.QueryCanceled)
    pid = until(lambda: holding.told).backend_pid
    assert holding.end() is None
    assert pid in own_pool().snapshot().backend_pids  # idle now, for the next
    event = Event.objects.get(author="operator")
    assert re.fullmatch(
        r"cancel the statement of GET /reports/<int:pk>/\[8f3a\] in holding at default in \S+:\d+: cancelled",
        event.message,
    )


def test_session_idle_in_transaction_is_ended_and_replaced(operator: User) -> None:  # P7
    over = threading.Event()
    holding = Holding(lambda: loiters(over))
    holding.is_at("in transaction")
    pid, client, address = holding.told.backend_pid, signed_in(operator), holding.address
    assert "Nothing runs on it now." in client.post(address + "cancel/", follow=True).content.decode()
    assert "End this session?" in text_of(client, address + "end/")
    assert "Its session was ended." in client.post(address + "end/", follow=True).content.decode()
    with connection.cursor() as cursor:
        gone = "SELECT count(*) = 0 FROM pg_stat_activity WHERE pid = %s"
        until(lambda: cursor.execute(gone, [pid]) or cursor.fetchone() == (True,), "the end of the server's process")
    page = text_of(client, address)
    assert "was ended, and doesn" in page
    assert "End its session" not in page
    over.set()
    assert isinstance(holding.end(), OperationalError)
    assert pid not in own_pool().snapshot().backend_pids
    said = [event.message.rsplit(": ", 1)[1] for event in Event.objects.filter(author="operator").order_by("id")]
    assert said == ["Nothing runs on it now.", "ended"]


@pytest.mark.parametrize(
    ("permissions", "status"),
    [
        pytest.param((), {"": 403, "cancel/": 403, "end/": 403}, marks=pytest.mark.long),
        (("view_poolprofile", "change_poolprofile", "read_statements"), {"": 200, "cancel/": 403, "end/": 403}),
        pytest.param(("end_sessions",), {"": 403, "cancel/": 403, "end/": 403}, marks=pytest.mark.long),
        pytest.param(
            ("view_poolprofile", "end_sessions"), {"": 200, "cancel/": 200, "end/": 200}, marks=pytest.mark.long
        ),
    ],
)
def test_each_address_asks_for_its_permission(
    loitering: Holding, permissions: tuple[str, ...], status: dict[str, int]
) -> None:
    client, address = signed_in(person("someone", *permissions)), loitering.address
    assert {path: client.get(address + path).status_code for path in status} == status
    for path in ("cancel/", "end/"):
        if status[path] != 200:
            assert client.post(address + path).status_code == 403
        answer = Client().post(address + path)
        assert (answer.status_code, answer["Location"].startswith("/admin/login/")) == (302, True)
    assert not Event.objects.filter(kind="command").exists()
    assert loitering.told is not None


@pytest.mark.long
def test_orders_are_refused_without_a_token_and_by_other_methods(operator: User, loitering: Holding) -> None:
    client, address = signed_in(operator, enforce_csrf_checks=True), loitering.address
    assert client.post(address + "end/").status_code == 403
    assert signed_in(operator).put(address + "end/").status_code == 405
    assert signed_in(operator).post(address).status_code == 405
    for nonsense in ("kill/", "1.2/", "../"):
        assert signed_in(operator).get(address + nonsense).status_code == 404
    assert not Event.objects.exists()


@pytest.mark.long
def test_what_was_asked_and_answered_is_pruned(operator: User, loitering: Holding) -> None:
    assert signed_in(operator).get(loitering.address).status_code == 200
    Message.objects.update(until="2020-01-01T00:00:00Z")
    prune()
    assert not Message.objects.exists()
