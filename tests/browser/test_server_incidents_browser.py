"""A server that is gone, and one that strangers have filled: told by name within ten seconds, while the control database stays."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from functools import partial
from threading import Event
from typing import Any

import psycopg
import pytest
from django.db import connections

from poolmgr.control.reporting.beats import read_beats
from poolmgr.models import Episode
from poolsite.demo.servers import EmbeddedPostgres
from tests import servers
from tests.browser.acting import SOON, pressed, says, told_what_to_do
from tests.browser.conftest import Page
from tests.integration.elsewhere import elsewhere
from tests.integration.holding import Holding
from tests.threads import under_load
from tests.waiting import until

pytestmark = [pytest.mark.browser, pytest.mark.faults, pytest.mark.django_db(transaction=True), pytest.mark.long]

ORDERS = "orders"
#: Of the server's slots three are a superuser's.
SLOTS = 14


@pytest.fixture(scope="module")
def server() -> Iterator[EmbeddedPostgres]:
    directory = servers.scratch_directory()
    made = servers.new_postgres(directory / "postgres", max_connections=SLOTS).start()
    yield made
    made.destroy()
    shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture
def orders(watched: Page, server: EmbeddedPostgres) -> Iterator[str]:
    """The URL of a target on the server of its own, that this process has a pool to."""
    with elsewhere(server, ORDERS) as url:
        asks()
        until(lambda: {pool.target for beat in read_beats().processes for pool in beat.pools} >= {ORDERS}, "its report")
        says(watched, "All is well")
        yield url
    with psycopg.connect(server.superuser_url("postgres"), autocommit=True) as chief:
        chief.execute(f"DROP DATABASE {ORDERS} WITH (FORCE)")


def asks(statement: str = "SELECT 1") -> None:
    """Past Django, which lets tests ask no database that was not there when they began."""
    with connections[ORDERS].managed_pool.connection() as connection:  # type: ignore[attr-defined]
        connection.execute(statement)


def holds(over: Event) -> None:
    with connections[ORDERS].managed_pool.connection():  # type: ignore[attr-defined]
        over.wait(30)


def last(family: str) -> Episode | None:
    return Episode.objects.filter(target=ORDERS, family=family).order_by("-began_at").first()


def test_a_server_that_is_down_is_told_with_its_address_and_is_well_again_by_itself(
    watched: Page, orders: str, server: EmbeddedPostgres
) -> None:
    server.stop("immediate")
    try:
        says(watched, f"{ORDERS}: No connection can be opened to 127.0.0.1:{server.port}/{ORDERS}: nothing listens")
        until(lambda: "since" in watched.text(".pm-since"), "since when", SOON)
        assert pressed(watched) == "Look closer"
        told_what_to_do(watched, "No connection can be opened")
        assert watched.text("[data-key='target default'] .pm-row-sentence").endswith("nobody waits.")
    finally:
        server.restart()
    until(lambda: "All is well" in watched.text("#pools .pm-headline"), "it to be well by itself", 20)
    found = until(lambda: (row := last("unreachable")) and row.ended_at and row, "the end of the episode", SOON)
    assert found.began_at < found.ended_at
    says(watched, "no connection could be opened", "[data-key='happened']")


def test_strangers_who_have_filled_a_server_are_told_by_name_user_and_number(
    watched: Page, orders: str, acting: ExitStack, picture: Callable[..., None]
) -> None:
    user, over, names = connections.settings[ORDERS]["USER"], Event(), ["metabase"]
    holding = Holding(partial(holds, over), "GET /reports/<int:pk>/")
    acting.callback(holding.end)
    acting.callback(over.set)
    strangers = acting.enter_context(ExitStack())
    with suppress(psycopg.OperationalError):
        while True:
            strangers.enter_context(psycopg.connect(orders, application_name=names[-1]))
            names.append("nightly-export")
    # What is left of the pool is too little for these.
    acting.enter_context(under_load(*[partial(asks, "SELECT pg_sleep(0.3)")] * 3))
    says(watched, "has no connection slot left: 11 of 11 are taken")
    says(watched, f"2 by us, 9 by others: 8 nightly-export (user {user}), 1 metabase (user {user})")
    says(watched, "2 requests wait")
    assert pressed(watched) == "Who has the slots"
    picture(watched, "server-full", "light")
    told_what_to_do(watched, "The server has no slot left")
    watched.one(".pm-remedies .pm-primary").click()
    until(lambda: f"nightly-export, user {user}" in watched.text("#server"), "who they are", SOON)
    watched.open("/pools/")
    strangers.close()
    over.set()
    says(watched, "All is well")
    until(lambda: (row := last("server_full")) and row.ended_at, "the end of the episode", SOON)


def test_who_fills_a_server_is_told_also_to_whoever_comes_later(watched: Page, orders: str, acting: ExitStack) -> None:
    """Nobody has looked before: what is known then an agent has asked over the pool's own connection."""
    watched.open("/pools/help/exhausted/")
    with suppress(psycopg.OperationalError):
        while True:
            acting.enter_context(psycopg.connect(orders, application_name="runaway"))
    acting.enter_context(under_load(*[partial(asks, "SELECT pg_sleep(0.3)")] * 3))
    until(lambda: any("slot" in pool.last_error for pool in _pools()), "the pool to be refused", SOON)
    watched.open("/pools/")
    says(watched, "runaway (user")


def _pools() -> list[Any]:
    return [pool for beat in read_beats().processes for pool in beat.pools if pool.target == ORDERS]
