"""For whom connections were used, and what of that the server was needed for: with real statements, views and tasks."""

from __future__ import annotations

import asyncio
import io
import json
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic
from typing import Any

import pytest
from celery import shared_task
from django.core.management import CommandError
from django.db import connection, transaction
from django.http import HttpRequest, HttpResponse
from django.template.loader import render_to_string
from django.test import Client
from django.urls import path
from msgspec.structs import replace

import poolmgr.aio
from poolmgr import tasknames  # noqa: F401  as a worker has it
from poolmgr.control.reporting.fleet import read_fleet
from poolmgr.control.reporting.uses import used_by
from poolmgr.dashboard.pages.uses import uses_of
from poolmgr.metrics.uses import Use
from poolmgr.pools import registry
from poolmgr.pools.labels import Label, labelled
from poolmgr.targets.postgresql.managed import ManagedPool
from tests.agents import command, without_agent
from tests.integration.backend import query
from tests.integration.console import own_pool
from tests.integration.holding import fleet_of_its_own
from tests.waiting import until

Lent = Callable[..., ManagedPool]

#: Seconds that something takes below, and what that is found to be at the least.
LONG, FOUND = 0.3, 0.29


def passes() -> None:
    """As a call of a model does that has nothing to do with the database."""
    ends = monotonic() + LONG
    until(lambda: monotonic() >= ends)


@contextmanager
def for_view(name: str) -> Iterator[None]:
    """A request, at whose end Django closes its connection."""
    with labelled(Label("view", name, "8f3a")):
        yield
    connection.close()


def use_of(pool: ManagedPool, name: str) -> Use:
    return next(use for use in pool.snapshot().uses if use.name == name)


def test_what_is_held_while_nothing_needs_it_is_elsewhere_in_session_mode(lent_pool: Lent) -> None:
    pool = lent_pool("session")
    with for_view("GET /search/"):
        query()
        passes()
        query()
    spent = use_of(pool, "GET /search/").recent
    assert (spent.count, use_of(pool, "GET /search/").splits) == (1, True)
    assert spent.elsewhere >= FOUND
    assert spent.sql + spent.kept < spent.held - FOUND
    assert 0 < spent.sql < spent.held


def test_in_transaction_mode_the_connection_is_elsewhere_for_next_to_nothing(lent_pool: Lent) -> None:
    pool = lent_pool("transaction")
    with for_view("GET /search/"):
        query()
        passes()
        query()
        with transaction.atomic():
            query()
    spent = use_of(pool, "GET /search/").recent
    assert spent.count == 3
    assert spent.held < LONG
    assert spent.elsewhere < LONG / 3  # a moment after each commit


@pytest.mark.parametrize("mode", ["session", "transaction"])
def test_a_transaction_kept_open_meanwhile_is_idle_in_transaction(lent_pool: Lent, mode: str) -> None:
    pool = lent_pool(mode)
    with for_view("POST /orders/"), transaction.atomic():
        passes()  # before it has said anything: to transaction mode that is no difference
        query()
        passes()
    spent = use_of(pool, "POST /orders/").recent
    assert spent.kept >= 2 * FOUND
    assert spent.elsewhere <= spent.held - 2 * FOUND


@pytest.mark.long
@pytest.mark.parametrize("mode", ["session", "transaction", "statement"])
def test_an_open_cursor_keeps_it_as_transaction_mode_would(lent_pool: Lent, mode: str) -> None:
    pool = lent_pool(mode)
    with for_view("GET /export/"), connection.cursor() as cursor:
        cursor.execute("SELECT 1")
        passes()
    assert use_of(pool, "GET /export/").recent.kept >= FOUND


@pytest.mark.parametrize("mode", ["session", "transaction", "statement"])
def test_what_the_server_takes_is_sql(lent_pool: Lent, mode: str) -> None:
    pool = lent_pool(mode)
    with for_view("GET /report/"):
        query(f"SELECT pg_sleep({LONG})")
    spent = use_of(pool, "GET /report/").recent
    assert spent.sql >= FOUND
    assert spent.kept + spent.elsewhere <= spent.held - FOUND


@pytest.mark.long
def test_tasks_use_of_psycopg_s_connections_is_told_too(lent_pool: Lent) -> None:
    pool = lent_pool("transaction")

    async def main() -> None:
        with labelled(Label("view", "GET /awaited/")):
            async with poolmgr.aio.pool("default").connection() as conn:
                await conn.execute(f"SELECT pg_sleep({LONG})")
                await asyncio.to_thread(passes)
                async with conn.transaction():
                    await conn.execute("SELECT 1")
                    await asyncio.to_thread(passes)

    asyncio.run(main())
    spent = use_of(pool, "GET /awaited/").recent
    assert spent.count == 1
    assert min(spent.sql, spent.elsewhere, spent.kept) >= FOUND, spent


@pytest.mark.long
def test_a_server_side_cursor_asks_at_each_fetch_and_a_commit_is_sql_too(lent_pool: Lent) -> None:
    pool = lent_pool("transaction")
    with for_view("GET /stream/"):
        with transaction.atomic(), connection.chunked_cursor() as cursor:
            cursor.execute(f"SELECT pg_sleep({LONG})")
            cursor.fetchall()  # until now nothing has run
        with transaction.atomic():
            query("CREATE TEMP TABLE kept (id int PRIMARY KEY) ON COMMIT DROP")
            query(
                "CREATE FUNCTION pg_temp.slow() RETURNS trigger LANGUAGE plpgsql"
                f" AS 'BEGIN PERFORM pg_sleep({LONG}); RETURN NULL; END'"
            )
            query(
                "CREATE CONSTRAINT TRIGGER late AFTER INSERT ON kept DEFERRABLE INITIALLY DEFERRED"
                " FOR EACH ROW EXECUTE FUNCTION pg_temp.slow()"
            )
            query("INSERT INTO kept VALUES (1)")
    assert use_of(pool, "GET /stream/").recent.sql >= 2 * FOUND


def test_what_is_under_way_is_told_so_far_and_never_less_later(lent_pool: Lent) -> None:
    pool = lent_pool("session", max_size=2)
    told: list[float] = []
    with for_view("GET /slow/"):
        query()

        def long_enough() -> bool:
            spent = use_of(pool, "GET /slow/").recent
            told.append(spent.held)
            assert spent.count == 0
            return spent.elsewhere > LONG

        until(long_enough)
    spent = use_of(pool, "GET /slow/").recent
    assert (spent.count, [*told, spent.held]) == (1, sorted([*told, spent.held]))


@pytest.mark.long
def test_a_statement_that_runs_is_sql_before_its_end(lent_pool: Lent) -> None:
    pool = lent_pool("session", max_size=2)
    running = threading.Thread(target=_run_long, daemon=True)
    running.start()
    until(lambda: any(use.name == "GET /now/" and use.recent.sql > LONG for use in pool.snapshot().uses))
    holder = next(each for each in pool.snapshot().holders if each.label == "GET /now/")
    found = pool.find_checkout(holder.checkout)
    assert found is not None
    found.cancel()
    running.join(10)
    assert use_of(pool, "GET /now/").recent.count == 1


def _run_long() -> None:
    try:
        with for_view("GET /now/"):
            query("SELECT pg_sleep(30)")
    except Exception:  # cancelled
        connection.close()


def test_a_thread_that_ends_without_giving_back_has_used_it(lent_pool: Lent) -> None:  # P4
    pool = lent_pool("session", max_size=2)

    def ends() -> None:
        with labelled(Label("view", "GET /dies/")):
            query()
            kept.append(connection.connection)  # so that only the thread's end gives it back

    kept: list[Any] = []
    thread = threading.Thread(target=ends)
    thread.start()
    thread.join(10)
    until(lambda: pool.snapshot().reclaimed)
    use = use_of(pool, "GET /dies/")
    assert (use.recent.count, use.recent.held > 0) == (1, True)


def test_one_checkout_for_two_counts_for_each_the_time_that_was_theirs(lent_pool: Lent) -> None:
    """As where a middleware asks before the view is known, or a view runs a task by itself."""
    pool = lent_pool("session")
    with labelled(Label("view", "GET /first/")):
        query()
        passes()
    with for_view("GET /second/"):
        query()
        passes()
        passes()
    first, second = use_of(pool, "GET /first/").recent, use_of(pool, "GET /second/").recent
    assert (first.count, second.count) == (0, 1)
    assert FOUND <= first.held < 2 * FOUND <= second.held


@shared_task(name="uses.build")
def build() -> None:
    with transaction.atomic():
        query()


def test_a_task_is_called_by_its_name(lent_pool: Lent) -> None:
    pool = lent_pool("transaction")
    done = build.apply()
    use = use_of(pool, "uses.build")
    assert (use.kind, use.recent.count) == ("task", 1)
    assert done.id not in repr(pool.snapshot().uses)


def page(request: HttpRequest, **kwargs: Any) -> HttpResponse:
    query()
    return HttpResponse()


urlpatterns = [path("reports/<int:pk>/<str:token>/", page)]


def test_names_are_those_of_routes_without_ids_and_values(lent_pool: Lent, settings: Any) -> None:  # P13
    settings.ROOT_URLCONF = __name__
    pool = lent_pool("transaction")
    for number in range(30):
        Client().get(f"/reports/{4711 + number}/secret-token/", headers={"X-Request-Id": "8f3a"})
    told = pool.snapshot().uses
    assert [(use.name, use.recent.count) for use in told if use.name] == [("GET /reports/<int:pk>/<str:token>/", 30)]
    assert not any(each in repr(told) for each in ("4711", "secret-token", "8f3a"))


@pytest.mark.long
def test_two_hundred_routes_take_the_room_of_a_few(lent_pool: Lent) -> None:  # P12
    pool = lent_pool("transaction")
    for number in range(200):
        with labelled(Label("view", f"GET /{number}/")):
            query()
    uses = pool.snapshot().uses
    assert len(uses) <= 13
    assert sum(use.recent.count for use in uses if use.kind in ("view", "others")) == 200


# -- shown ----------------------------------------------------------------------------------------------------------------


@pytest.fixture
def shown(transactional_db: None, settings: Any, redis_server: Any) -> Iterator[None]:
    """This process in a fleet of its own, which tells of two views and a task."""
    connection.close()  # which the test's set-up has used
    registry.close("default")
    fleet_of_its_own(settings, redis_server)
    with for_view("GET /search/<b>&/"):
        query()
        until(lambda: holds_most("GET /search/<b>&/", 1.1))  # also than the agent of a busy machine
    with for_view("GET /report/"):
        query("SELECT pg_sleep(0.1)")
    build.apply()
    until(lambda: told_to_programs().get("uses.build", {}).get("last_minutes", {}).get("checkouts"))
    yield
    without_agent()


def holds_most(name: str, seconds: float) -> bool:
    first, *rest = own_pool().snapshot().uses
    others = max((use.recent.held for use in rest), default=0.0)
    return first.name == name and first.recent.held >= max(seconds, 2 * others)


def poolctl(*arguments: str) -> str:
    said = io.StringIO()
    command("poolctl", *arguments, stdout=said, no_color=True)
    return said.getvalue()


def told_to_programs() -> dict[str, Any]:
    [told] = json.loads(poolctl("uses", "default", "--json"))["targets"]
    return {use["label"]: use for use in told["uses"]}


def test_a_terminal_tells_who_holds_most_and_what_to_do(shown: None) -> None:
    found = told_to_programs()
    search, task = found["GET /search/<b>&/"], found["uses.build"]
    assert (search["kind"], search["last_minutes"]["checkouts"]) == ("view", 1)
    assert search["last_minutes"]["held"] >= 1.1
    assert search["last_minutes"]["elsewhere"] >= 1.0
    assert 1.0 <= search["last_minutes"]["use"]["p95"] <= 5.0
    assert search["since_start"]["held"] == search["last_minutes"]["held"]
    assert (task["kind"], task["last_minutes"]["checkouts"]) == ("task", 1)
    lines = poolctl("uses", "default").splitlines()
    assert lines[1].split()[:3] == ["HELD", "FOR", "CHECKOUTS"]
    assert "GET /search/<b>&/" in lines[2]
    assert lines[-1].startswith("GET /search/<b>&/ holds a connection for 1.")
    assert "pool_mode transaction" in lines[-1]
    assert "released()" in lines[-1]
    with pytest.raises(CommandError, match="here is no target 'nowhere'"):
        poolctl("uses", "nowhere")


@pytest.mark.long
def test_a_page_has_a_line_for_each_with_its_parts(shown: None) -> None:
    uses = uses_of("default", read_fleet())
    page = render_to_string("poolmgr/uses.html", {"uses": uses})
    assert "GET /search/&lt;b&gt;&amp;/" in page  # and nothing of a client's
    assert "style=" not in page
    [line] = [each for each in uses.lines if each.label == "GET /report/"]
    assert [part.kind for part in line.parts] == ["sql", "kept", "elsewhere"]
    assert uses.lines[0].label == "GET /search/<b>&/"
    held = float(uses.lines[0].held.exact.split()[0])
    assert float(line.parts[0].width.rstrip("%")) >= 100 * 0.1 / held
    assert line.text.startswith("SQL 1")


@pytest.mark.long
def test_a_command_is_called_by_its_command_line(shown: None) -> None:
    [here] = [beat for beat in read_fleet().processes if beat.pid == os.getpid()]
    [pool] = [pool for pool in here.pools if pool.target == "default"]
    unnamed = replace(here, role="command", name="manage.py reindex", pools=(pool,))
    with connection.cursor():
        pass
    used = used_by("default", [unnamed], str)
    assert ("command", "manage.py reindex") in {(use.kind, use.name) for use in used.uses}
