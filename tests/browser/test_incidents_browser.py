"""Incidents acted out before an overview that is open: within ten seconds it says that, who, why and what to do."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from typing import Any

import psycopg
import pytest
from django.db import OperationalError, connection, connections, transaction

from poolmgr.control.commanding import commands
from poolmgr.control.reporting.beats import read_beats
from poolmgr.exceptions import ModeError
from poolmgr.models import Episode
from tests.browser.acting import SOON, asking, asks, follow, pressed, says
from tests.browser.conftest import Page
from tests.integration.console import own_pool
from tests.integration.holding import Holding
from tests.waiting import until

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True), pytest.mark.long]

VIEW = "GET /reports/<int:pk>/"
TABLE = "incident_things"


@pytest.fixture
def table(transactional_db: None) -> Iterator[None]:
    with connection.cursor() as cursor:
        cursor.execute(f"CREATE TABLE {TABLE} (id int)")
    connection.close()
    yield
    with connection.cursor() as cursor:
        cursor.execute(f"DROP TABLE {TABLE}")
    connection.close()


def full(acting: ExitStack) -> None:
    """All three connections are held for a report, and two requests wait."""
    for _ in range(3):
        acting.callback(Holding(asks, VIEW).end)
    until(lambda: own_pool().snapshot().used == 3, "all to be in use")
    # Ended after those who wait, which they would otherwise for as long as these hold.
    release = acting.pop_all()
    asking(acting, 2)
    acting.push(release.__exit__)
    until(lambda: own_pool().snapshot().pending == 2, "two to wait")


def test_a_full_pool_says_who_holds_and_what_to_do(watched: Page, acting: ExitStack) -> None:
    full(acting)
    says(watched, "2 requests wait")
    says(watched, "3 of 3 connections in use")
    until(lambda: watched.texts("[data-key='holders'] .pm-label strong") == [VIEW] * 3, "who holds", SOON)
    assert len(watched.all(".pm-slot-waits .pm-dot")) == 2
    assert pressed(watched) == "Who holds"
    watched.one(".pm-todo").click()
    until(lambda: watched.text("#content h1") == "Requests wait for a connection", "what to do", SOON)


def test_a_full_pool_after_an_edit_says_so_and_offers_the_settings_before(watched: Page, acting: ExitStack) -> None:
    follow(max_size=8)
    before = follow(max_size=3).revision - 1
    full(acting)
    says(watched, "max_size 8 → 3", ".pm-since")
    assert pressed(watched) == f"Restore revision {before}"
    watched.one(".pm-remedies .pm-primary").click()
    assert "8" in watched.text("#content")


def test_a_pause_says_for_how_long_who_waits_and_resumes_by_one_button(watched: Page, acting: ExitStack) -> None:
    own_pool().pause()
    asking(acting, 2)
    acting.callback(own_pool().resume)
    says(watched, "Paused for")
    says(watched, "2 requests wait for the resume")
    assert pressed(watched) == "Resume"
    watched.one(".pm-remedies .pm-primary").click()
    watched.one("button.pm-button").click()
    until(lambda: own_pool().snapshot().status == "open", "the resume", SOON)
    says(watched, "nobody waits")


def test_one_that_idles_in_a_transaction_is_named_as_who_is_in_the_way(
    watched: Page, table: None, acting: ExitStack
) -> None:
    over = threading.Event()

    def locks() -> None:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(f"LOCK TABLE {TABLE}")
            over.wait(30)

    holding = Holding(locks, "POST /orders/")
    acting.callback(holding.end)
    holding.is_at("in transaction")
    release = acting.pop_all()
    asking(acting, 2, _reads)
    acting.push(release.__exit__)
    acting.callback(over.set)
    says(watched, "wait for a lock of POST /orders/")
    says(watched, "idle in transaction")
    assert pressed(watched) == "Who is in the way"
    watched.one(".pm-remedies .pm-primary").click()
    assert "POST /orders/" in watched.text("#content")
    assert watched.all(".pm-form a[href$='/end/']")


def _reads() -> None:
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT count(*) FROM {TABLE}")


def test_a_stranger_s_lock_is_told_by_their_name(watched: Page, table: None, acting: ExitStack, postgres: Any) -> None:
    url = postgres.url(connections.settings["default"]["NAME"])
    psql = acting.enter_context(psycopg.connect(url, application_name="psql"))
    psql.execute(f"LOCK TABLE {TABLE}")
    asking(acting, 3, _reads)
    acting.callback(psql.rollback)
    says(watched, "3 holders wait for a lock of psql")
    # All three connections are theirs: whoever comes now waits.
    assert pressed(watched) == "Who is in the way"
    watched.one(".pm-remedies .pm-primary").click()
    until(lambda: "none of ours" in watched.text("#blocking"), "the stranger", SOON)


def test_connections_that_the_server_ended_leave_a_line(watched: Page, acting: ExitStack, postgres: Any) -> None:
    pool = own_pool()
    held = [pool.checkout() for _ in range(3)]
    for conn in held:
        pool.give_back(conn)
    pids = pool.snapshot().backend_pids
    assert len(pids) == 3
    until(lambda: _reported() == set(pids), "the report of all three")
    with psycopg.connect(postgres.superuser_url("postgres"), autocommit=True) as chief:
        chief.execute("SELECT pg_terminate_backend(pid) FROM unnest(%s::int[]) AS pid", [list(pids)])
        gone = "SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE pid = ANY(%s))"
        until(lambda: chief.execute(gone, [list(pids)]).fetchone() == (True,), "the sessions to have ended")
    with suppress(OperationalError):  # of the server's last word, where that is on its way still
        asks()
    connection.close()
    until(lambda: Episode.objects.filter(family="connections_lost").exists(), "the episode", SOON)
    says(watched, "connections broke at once", "[data-key='happened']")


def _reported() -> set[int]:
    return {pid for beat in read_beats().processes for pool in beat.pools for pid in pool.backend_pids}


def test_statement_mode_that_refuses_transactions_says_which_setting_it_is(watched: Page) -> None:
    follow(pool_mode="statement")
    with pytest.raises(ModeError), transaction.atomic():
        asks()
    connection.close()
    says(watched, "refused in the last minute: pool_mode is statement")
    says(watched, "set it to transaction")


def test_a_recycle_shows_its_progress(watched: Page) -> None:
    commands.send("recycle", "default", "operator")
    connection.close()
    says(watched, "1 of 1 done", "[data-key='happened']")
