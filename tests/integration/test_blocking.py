"""Who blocks whom at the server, and who else is there: seen, told on the page and in the verdict, whoever is in the way."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from threading import Event
from time import monotonic, time
from typing import Any

import psycopg
import pytest
from django.db import connection, connections, transaction
from django.test import Client
from msgspec.structs import replace

from poolmgr.control.reporting import looks as looking
from poolmgr.control.reporting.beats import read_beats
from poolmgr.control.reporting.health import check_target
from poolmgr.control.reporting.looks import Looks
from poolmgr.control.store import get_store
from poolmgr.control.store.database import DatabaseStore
from poolmgr.identity import host
from poolmgr.metrics.blocking import at_work, called, tree
from poolmgr.pools.labels import Label, labelled
from poolmgr.pools.looking import Look
from poolmgr.targets.postgresql.probe import look
from tests.integration.console import beat, own_fleet, own_pool, person, signed_in
from tests.integration.elsewhere import ELSEWHERE, elsewhere
from tests.integration.test_poolctl import poolctl
from tests.pools import change
from tests.threads import Begun
from tests.waiting import until

pytestmark = pytest.mark.django_db(transaction=True)

TABLE = "blocking_things"
#: Has workers do all of a query.
PARALLEL = {
    "parallel_leader_participation": "off", "parallel_setup_cost": 0, "parallel_tuple_cost": 0,
    "min_parallel_table_scan_size": 0, "max_parallel_workers_per_gather": 2,
}  # fmt: skip


@pytest.fixture(autouse=True)
def _fleet(settings: Any, redis_server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    own_fleet(settings, redis_server)
    monkeypatch.setattr(looking.looks, "_seen", {})
    connection.close()


@pytest.fixture(autouse=True)
def _table(transactional_db: None) -> Iterator[None]:
    with connection.cursor() as cursor:
        cursor.execute(f"CREATE TABLE {TABLE} (id int PRIMARY KEY, name text)")
        cursor.execute(f"INSERT INTO {TABLE} SELECT n, 'thing' FROM generate_series(1, 9) AS n")
    connection.close()
    yield
    with connection.cursor() as cursor:
        cursor.execute(f"DROP TABLE {TABLE}")


@pytest.fixture
def stranger(postgres: Any) -> Iterator[Callable[..., psycopg.Connection[Any]]]:
    """A session of somebody else's: stranger("psql")."""
    with ExitStack() as stack:

        def begin(name: str, **more: Any) -> psycopg.Connection[Any]:
            url = postgres.url(connections.settings["default"]["NAME"])
            return stack.enter_context(psycopg.connect(url, application_name=name, **more))

        yield begin


def seen(target: str = "default") -> Look:
    found = Look("here")
    look(target, found, lambda: "SELECT 1", monotonic() + 5, 30.0)
    return found


def ask(statement: str) -> None:
    with labelled(Label("view", "GET /search/", "8f3a")):
        try:
            with connection.cursor() as cursor:
                cursor.execute(statement)
        finally:
            connection.close()


def idle_in_transaction(statement: str, begun: Event, released: Event) -> None:
    with labelled(Label("view", "POST /orders/", "o-1")):
        try:
            with transaction.atomic(), connection.cursor() as cursor:
                cursor.execute(statement)
                begun.set()
                released.wait(30)
        finally:
            connection.close()


@contextmanager
def blocked(number: int, free: Callable[[], Any], statement: str = f"SELECT count(*) FROM {TABLE}") -> Iterator[None]:
    """So many requests that wait for a lock which ``free()`` gives up."""
    waiting = [Begun(lambda: ask(statement)) for _ in range(number)]
    try:
        until(
            lambda: sum(each.waits > 1 for each in seen().sessions) >= number,
            lambda: f"all to wait for a second ({seen().sessions}, {[each.outcome for each in waiting]})",
        )
        yield
    finally:
        free()
        for each in waiting:
            each.end()


def page(client: Client, name: str = "default") -> str:
    return client.get(f"/pools/targets/{name}/?part=figures").content.decode()


def target(client: Client, name: str = "default") -> Any:
    return client.get(f"/pools/api/v1/targets/{name}").json()


def sessions_ever() -> int:
    """How many sessions the database has had."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_stat_clear_snapshot()")
        cursor.execute("SELECT sessions FROM pg_stat_database WHERE datname = current_database()")
        return int(cursor.fetchone()[0])


def test_a_stranger_s_lock_is_the_root_of_those_who_wait_for_it(stranger: Any) -> None:
    bob = stranger("psql")
    bob.execute(f"LOCK TABLE {TABLE} -- 'my secret'")
    with blocked(3, bob.rollback):
        beat()
        client = signed_in(person("operator", superuser=True))
        said = until(lambda: "Who blocks whom" in (text := page(client)) and text)
        # Whoever had to wait while their connections were opened is served by now.
        until(lambda: beat() and target(client)["verdict"]["code"] == "blocked", "the verdict")
        assert "3 holders wait for a lock of psql, user" in said
        assert "blocks 3" in said
        assert "idle in transaction" in said
        assert f"LOCK TABLE {TABLE}" in said
        assert "my secret" not in said
        assert "waits for a lock of psql, user" in said
        found = target(client)
        assert found["blocked"]["root"].startswith("psql, user")
        [root] = [each for each in found["seen"]["sessions"] if not each["blocked_by"]]
        assert (root["application_name"], root["state"], root["pid"]) == (
            "psql",
            "in transaction",
            bob.info.backend_pid,
        )
        # As a check on schedule, and poolcheck, say it.
        assert "3 holders wait for a lock of psql, user" in check_target("default").message
        assert "3 holders wait for a lock of psql, user" in poolctl("why", "default")
        reader = signed_in(person("viewer", "view_poolprofile"))
        assert "LOCK TABLE" not in page(reader)
        assert not any(each["statement"] for each in target(reader)["seen"]["sessions"])


@pytest.mark.long
def test_one_of_ours_that_idles_in_a_transaction_is_named_by_its_view_and_its_request() -> None:
    client = signed_in(person("operator", superuser=True))
    connection.close()
    pool = own_pool()
    before = pool.desired
    change(pool, max_size=5)
    update, begun, released = f"UPDATE {TABLE} SET name = 'mine' WHERE id = 1", Event(), Event()
    holding = Begun(lambda: idle_in_transaction(update, begun, released))
    assert begun.wait(10)
    try:
        with blocked(4, released.set, update):
            waiting = [Begun(lambda: ask("SELECT 1")) for _ in range(2)]
            until(lambda: pool.snapshot().pending == 2)
            beat(full := replace(pool.snapshot(), recent_timeouts=0), pid=4711)
            # Beside a process that is well.
            beat(replace(full, holders=(), backend_pids=(), used=0, slots="", pending=0), uid="other", pid=4712)
            found = until(lambda: (told := target(client))["blocked"] and told)
            said = page(client)
        assert [each.end() for each in (holding, *waiting)] == [None, None, None]
    finally:
        pool.apply(before)
    assert (found["verdict"]["code"], found["verdict"]["state"]) == ("blocked_and_waiting", "critical")
    assert f"4 holders wait for a lock of POST /orders/ [o-1] in web {host()}:4711, idle in transaction for" in said
    sentence = found["verdict"]["message"]
    assert "; because of it 2 requests wait, the longest for " in sentence
    assert f"; 1 of 2 web processes is full (5 of 5: {host()}:4711)." in sentence
    assert "none of ours" not in said
    assert said.count("waits for a lock of POST /orders/, o-1, web") == 4
    cells = re.findall(r'pm-cell-used pm-age[^"]* pm-cell-blocked" d="([^"]*)"', said)
    assert "".join(cells).count("M") == 4
    assert "mine" not in said


@pytest.mark.long
def test_who_waits_behind_somebody_who_waits_stands_below_them(stranger: Any) -> None:
    reader, writer = stranger("report"), stranger("migration")
    reader.execute(f"SELECT count(*) FROM {TABLE}")
    altering = Begun(lambda: writer.execute(f"ALTER TABLE {TABLE} ADD more int"))
    until(lambda: any(each.name == "migration" for each in seen().sessions))

    def free() -> None:
        reader.rollback()
        altering.end()
        writer.rollback()

    with blocked(2, free):
        told = [
            (branch.session.name.partition(":")[0], branch.depth, len(branch.blocks))
            for branch in tree(seen().sessions)
        ]
    assert told == [("report", 0, 3), ("migration", 1, 2), ("poolmgr", 2, 0), ("poolmgr", 2, 0)]


@pytest.mark.long
def test_of_a_parallel_query_the_session_waits_whatever_worker_of_it_does(stranger: Any) -> None:
    bob, reader = stranger("psql"), stranger("report")
    for name, value in PARALLEL.items():
        reader.execute(f"SET {name} = {value}")
    reader.execute(f"CREATE TABLE {TABLE}_more AS SELECT generate_series(1, 5000) AS id")
    reader.execute(
        "CREATE FUNCTION blocking_count(int) RETURNS bigint LANGUAGE plpgsql PARALLEL SAFE"
        f" AS $$BEGIN RETURN (SELECT count(*) FROM {TABLE}); END$$"
    )
    reader.commit()
    bob.execute(f"LOCK TABLE {TABLE}")
    reading = Begun(lambda: reader.execute(f"SELECT sum(blocking_count(id)) FROM {TABLE}_more"))
    try:
        found = until(lambda: (told := seen().sessions) and told[0].seconds > 1 and told, lambda: str(reading.outcome))
    finally:
        bob.rollback()
        reading.end()
        reader.rollback()
        reader.execute(f"DROP TABLE {TABLE}_more; DROP FUNCTION blocking_count")
        reader.commit()
    assert [each.session.name for each in tree(found)] == ["psql", "report"]
    assert tree(found)[1].session.waits > 0.5


@pytest.mark.long
def test_a_prepared_transaction_that_nobody_ended_is_named(make_postgres: Any) -> None:
    with (
        elsewhere(make_postgres(max_prepared_transactions=5)) as url,
        psycopg.connect(url, autocommit=True) as owner,
        psycopg.connect(url, autocommit=True) as waiter,
    ):
        for statement in (
            "CREATE TABLE things (id int)",
            "BEGIN",
            "LOCK TABLE things",
            "PREPARE TRANSACTION 'order 7'",
        ):
            owner.execute(statement)
        waiting, pid = Begun(lambda: waiter.execute("SELECT * FROM things")), waiter.info.backend_pid
        branches = until(lambda: tree(seen(ELSEWHERE).sessions))
        owner.execute("ROLLBACK PREPARED 'order 7'")
        waiting.end()
    told = [(each.session.kind, each.session.name, each.session.pid) for each in branches]
    assert told == [("prepared", "order 7", 0), ("client", "", pid)]
    assert called(branches[0].session) == "the prepared transaction order 7"


@pytest.mark.long
def test_of_what_our_role_may_not_see_the_name_is_told(postgres: Any) -> None:
    url = postgres.superuser_url(connections.settings["default"]["NAME"])
    with psycopg.connect(url, application_name="boss <b>") as boss:
        boss.execute(f"LOCK TABLE {TABLE}")
        waiting = Begun(lambda: ask(f"SELECT count(*) FROM {TABLE}"))
        found = until(lambda: (told := seen()).sessions and told)
        boss.rollback()
        waiting.end()
    root = tree(found.sessions)[0].session
    assert (root.name, root.user, root.state, root.statement, root.hidden) == (
        "boss <b>",
        "postgres",
        "",
        "",
        True,
    )
    assert (called(root), at_work(root)) == ("boss <b>, user postgres", "")
    assert found.hidden == 1


def test_strangers_are_counted_by_name_user_and_address_and_ours_by_target(stranger: Any) -> None:
    def sessions(name: str) -> list[Any]:
        return [each for each in target(client)["seen"]["strangers"] if each["application_name"] == name]

    _held = [stranger("batch"), stranger("batch"), stranger("psql")]
    with connection.cursor():
        beat()
        client = signed_in(person("operator", superuser=True))
        until(lambda: target(client)["seen"])
        user = connections.settings["default"]["USER"]
        assert sessions("batch") == [{"application_name": "batch", "user": user, "address": "127.0.0.1", "sessions": 2}]
        assert sessions("psql")[0]["sessions"] == 1
        found = target(client)["seen"]
        assert found["ours"]["default"] >= 1
        assert found["used"] >= sum(found["ours"].values()) + found["others"]
        said = page(client)
    assert "batch, user" in said
    assert "On the server" in said


def test_many_who_look_on_share_one_look(monkeypatch: pytest.MonkeyPatch) -> None:  # P12
    monkeypatch.setattr(looking, "SHARED", 60.0)
    beat()
    beats, processes = read_beats(), [Looks() for _ in range(5)]
    first = until(lambda: processes[0].of(beats).get("default"))
    assert first.at
    for _ in range(10):
        assert all(process.of(beats)["default"] == first for process in processes)
    # Without Redis each process looks for itself, once.
    monkeypatch.setattr(looking, "get_store", DatabaseStore)
    alone = Looks()
    seen = until(lambda: alone.of(beats).get("default"))
    assert seen.at > first.at
    assert alone.of(beats)["default"] is seen


@pytest.mark.long
def test_while_the_server_lets_nobody_in_the_last_figures_stay_with_their_age(  # P10
    make_postgres: Any, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(looking, "SHARED", 0.0)
    server = make_postgres(max_connections=8)
    with elsewhere(server) as url, ExitStack() as stack:
        beat(replace(own_pool().snapshot(), target=ELSEWHERE, address="elsewhere"))
        client = signed_in(person("operator", superuser=True))
        seen = until(lambda: (told := target(client, ELSEWHERE)["seen"]) and told["at"] and told)
        with suppress(psycopg.OperationalError):
            while True:
                stack.enter_context(psycopg.connect(url, application_name="greedy"))
        last = until(lambda: (told := target(client, ELSEWHERE)["seen"])["error"] and told)
        assert last["error"] == "The server has no connection slot left."
        assert last["at"] >= seen["at"]
        assert "now it can't be asked: The server has no connection slot left." in page(client, ELSEWHERE)
        stack.close()
        until(lambda: not target(client, ELSEWHERE)["seen"]["error"], "it to be asked again")


@pytest.mark.long
def test_what_lies_in_the_store_is_checked_before_it_is_believed() -> None:
    beat()
    for text in ("nonsense", "[1]", json.dumps({"at": -1}), json.dumps({"tried": time() + 1000}), "x" * 300_000):
        get_store().note("look:default", text, 60)
        assert until(lambda: Looks().of(read_beats()).get("default")).used


def test_a_scraper_has_nobody_looked_at() -> None:  # P12
    beat()
    client = signed_in(person("operator", superuser=True))
    assert client.get("/pools/metrics").status_code == 200
    # Nobody has begun one, in this process or another.
    assert get_store().lead("look:default", "another", 60.0)
