"""PgBouncer's pools, managed through its console: on a real one."""

import gc
import os
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import replace
from math import inf
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest

from poolmgr.conf import Declared
from poolmgr.exceptions import ServerFull
from poolmgr.metrics.health import verdict_of
from poolmgr.pools import registry
from poolmgr.pools.desired import Desired
from poolmgr.targets.pgbouncer import picture
from poolmgr.targets.pgbouncer.kind import PGBOUNCER
from poolmgr.targets.pgbouncer.pool import BouncerPool
from tests.bouncer import ONLOOKER, Bouncer
from tests.pools import managed_pool
from tests.proxy import Proxy
from tests.waiting import until


@pytest.fixture(scope="module")
def shared(make_bouncer: Callable[..., Bouncer]) -> Bouncer:
    """One for all tests that leave it as it is, but for settings."""
    return make_bouncer()


@pytest.fixture
def bouncer(shared: Bouncer) -> Bouncer:
    for name in shared.databases:
        # Also what other tests left behind it, which would fill a small pool. Killed, a database is paused.
        shared.console(f"KILL {name}")
        shared.console(f"RESUME {name}")
    shared.console("RELOAD")
    return shared


@pytest.fixture
def manage(settings: Any) -> Iterator[Callable[..., BouncerPool]]:
    """manage(bouncer): what the leader has, leading for ever."""
    settings.POOLMGR = {**settings.POOLMGR, "AGENT": False, "HEARTBEAT_INTERVAL": 0.2, "PROCESS_TTL": 2.0}
    made: list[BouncerPool] = []

    def make(bouncer: Bouncer, url: str = "", pool: dict[str, Any] | None = None, **more: Any) -> BouncerPool:
        rest = {"DATABASES": list(bouncer.databases), **more}
        made.append(BouncerPool(Declared("bouncer", "pgbouncer", url or bouncer.console_url(), pool or {}, rest)))
        made[-1].open()
        made[-1].lead(inf)
        return made[-1]

    yield make
    for each in made:
        each.close(5)


def seen(pool: BouncerPool) -> Any:
    until(lambda: all(each.picture or each.error for each in pool.instances), "a first look at the console")
    return pool.snapshot()


def follow(pool: BouncerPool, **values: Any) -> None:
    """A profile, until it is in force."""
    revision = pool.desired.revision + 1
    pool.apply(Desired(PGBOUNCER.make_spec(values), "profile 1", revision))
    until(lambda: pool.snapshot().revision == revision, "the profile to be in force")


def test_a_pgbouncer_that_has_no_settings_of_ours_is_only_looked_at(
    bouncer: Bouncer, manage: Callable[..., BouncerPool]
) -> None:
    before = bouncer.console("SHOW CONFIG")
    found = seen(manage(bouncer))
    assert bouncer.console("SHOW CONFIG") == before
    # What it has is told by our names.
    assert (found.settings["max_size"], found.settings["pool_mode"], found.connection_timeout) == (
        20,
        "transaction",
        120,
    )
    assert (found.kind, found.status, found.profile, found.revision) == ("pgbouncer", "open", "bootstrap", 0)
    assert found.limit == 2 * 20  # for each of two databases
    assert verdict_of("web", "host:1", found, found.at).state == "ok"


def test_of_the_settings_that_are_written_down_those_alone_are_set(
    bouncer: Bouncer, manage: Callable[..., BouncerPool]
) -> None:
    before = {row["key"]: row["value"] for row in bouncer.console("SHOW CONFIG")}
    pool = manage(bouncer, pool={"max_size": 7})
    until(lambda: bouncer.setting("default_pool_size") == "7", "the setting to be in force")
    now = {row["key"]: row["value"] for row in bouncer.console("SHOW CONFIG")}
    assert {name for name in now if now[name] != before[name]} == {"default_pool_size"}
    assert seen(pool).max_size == 7


@pytest.mark.every_pgbouncer
def test_a_profile_is_set_word_for_word_and_told_as_in_force_when_it_was_read_back(
    bouncer: Bouncer, manage: Callable[..., BouncerPool]
) -> None:  # P5
    pool = manage(bouncer)
    follow(
        pool,
        pool_mode="session",
        min_size=1,
        max_size=6,
        budget=11,
        connection_timeout=9,
        idle_timeout=0,
        max_lifetime=0,
        validation="query",
        validation_query="SELECT 'it''s'",
    )
    now = {row["key"]: row["value"] for row in bouncer.console("SHOW CONFIG")}
    assert {
        "pool_mode": "session",
        "min_pool_size": "1",
        "default_pool_size": "6",
        "max_db_connections": "5",  # of the 11 for two databases
        "query_wait_timeout": "9",
        "server_idle_timeout": "0",
        "server_check_query": "SELECT 'it''s'",
        "server_check_delay": "0",
    }.items() <= now.items()
    assert float(now["server_lifetime"]) == 30 * 86_400  # its own 0 would use each connection once
    assert pool.snapshot().settings == pool.spec.to_dict()
    assert pool.problem == ""
    follow(pool, validation="socket", validate_after_idle=20)
    assert (bouncer.setting("server_check_query"), bouncer.setting("server_check_delay")) == ("SELECT 1", "20")
    follow(pool, validation="off")
    assert bouncer.setting("server_check_query") == ""


def test_what_a_reload_takes_back_is_set_again(bouncer: Bouncer, manage: Callable[..., BouncerPool]) -> None:
    manage(bouncer, pool={"max_size": 7})
    until(lambda: bouncer.setting("default_pool_size") == "7", "the setting to be in force")
    bouncer.console("RELOAD")
    bouncer.console("SHOW VERSION")
    until(lambda: bouncer.setting("default_pool_size") == "7", "the setting to be in force again")


def test_what_is_answered_and_does_nothing_is_told_and_not_tried_for_ever(
    bouncer: Bouncer, manage: Callable[..., BouncerPool], monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = manage(bouncer)
    seen(pool)
    # As every version answers SET for what only a restart changes.
    monkeypatch.setattr(pool, "_wanted", {"listen_port": "1", "max_client_conn": "101"})
    until(lambda: bouncer.setting("max_client_conn") == "101", "what can be set to be set")
    until(lambda: pool.problem, "the problem to be told")
    assert pool.problem == (f"PgBouncer at {pool.address} keeps listen_port at {bouncer.port}, which was set to 1")
    asked = [row for row in bouncer.console("SHOW CLIENTS") if row["database"] == "pgbouncer"]
    assert len(asked) == 2  # its own connection and this one's
    monkeypatch.undo()
    until(lambda: not pool.problem, "the problem to be over")


def test_a_size_that_a_database_has_of_its_own_is_told(
    make_bouncer: Callable[..., Bouncer], manage: Callable[..., BouncerPool]
) -> None:
    bouncer = make_bouncer({"app": "", "small": "pool_size=3"})
    pool = manage(bouncer, pool={"max_size": 7})
    until(lambda: pool.problem, "the problem to be told")
    assert pool.problem == (
        f"PgBouncer at {pool.address} has default_pool_size 3 for 'small' alone, by its file, and SET does not reach that"
    )
    assert seen(pool).limit == 7 + 3


def test_a_database_that_it_does_not_have_is_told(bouncer: Bouncer, manage: Callable[..., BouncerPool]) -> None:
    pool = manage(bouncer, DATABASES=["app", "missing"])
    until(lambda: pool.problem, "the problem to be told")
    assert pool.problem == f"PgBouncer at {pool.address} has no database 'missing'"


@pytest.mark.long
def test_an_order_for_a_database_that_is_gone_says_so_and_a_pause_holds_when_it_is_back(
    make_bouncer: Callable[..., Bouncer], manage: Callable[..., BouncerPool]
) -> None:  # P9
    bouncer = make_bouncer({"app": ""})
    pool = manage(bouncer, DATABASES=["app", "other"])
    until(lambda: pool.problem, "it to be missed")
    gone = f"PgBouncer at {pool.address}: it has no database 'other'"
    pool.pause("other")
    assert pool.settle(5, "other") == gone
    assert pool.cut_off("kill", "other") == gone
    assert pool.recycle(5, "other").failed == gone
    assert pool.recycle(5).failed == ""
    bouncer.databases["other"] = ""
    bouncer.write()
    bouncer.console("RELOAD")
    until(lambda: [row["paused"] for row in _ours(bouncer)] == [0, 1], "it to be paused when it is there")
    until(lambda: pool.settle(5, "other") == "", "it to be seen")


@pytest.mark.every_pgbouncer
def test_clients_are_holders_and_who_waits_is_pending(bouncer: Bouncer, manage: Callable[..., BouncerPool]) -> None:
    pool = manage(bouncer, pool={"max_size": 1})
    until(lambda: bouncer.setting("default_pool_size") == "1", "the setting to be in force")
    with bouncer.client(application_name="first") as first:
        pid = first.execute("SELECT pg_backend_pid()").fetchone()[0]
        waiting = threading.Thread(target=lambda: bouncer.client().close())
        second = bouncer.client()
        waiting = threading.Thread(target=lambda: second.execute("SELECT 1"))
        waiting.start()
        found = until(lambda: (now := pool.snapshot()).pending == 1 and now.used == 1 and now, "a client to wait")
        assert [each.thread.partition(" from")[0] for each in found.holders] == [
            f"first, {bouncer.behind.username}@app"
        ]
        assert [each.backend_pid for each in found.holders] == [pid]
        assert found.backend_pids == (pid,)
        assert pool.load() == (1, 1, 1)
        assert verdict_of("web", "host:1", found, found.at).state == "warning"
        first.rollback()
        waiting.join(10)
    second.close()
    found = until(lambda: (now := pool.snapshot()).checkouts > 1 and not now.used and now, "it to be counted")
    assert found.recent_means["use"] > 0
    # How many had a wait is counted from version 1.23 on.
    assert ("wait" in found.recent_means) == (bouncer.version >= (1, 23))
    assert found.wait_time.count == 0  # no quantiles are made up


def test_a_pause_holds_new_transactions_and_a_resume_serves_them(
    bouncer: Bouncer, manage: Callable[..., BouncerPool]
) -> None:
    pool = manage(bouncer)
    with bouncer.client() as busy, bouncer.client("other") as late:
        busy.execute("SELECT 1")  # a transaction that a PAUSE would wait for
        pool.pause()
        assert pool.settle(10) == ""
        assert pool.paused
        assert pool.snapshot().status == "paused"
        served: list[Any] = []
        waiting = threading.Thread(target=lambda: served.append(late.execute("SELECT 1").fetchone()))
        waiting.start()
        until(lambda: pool.snapshot().pending == 1, "the client to wait")
        busy.execute("SELECT 1")  # which is served to its end
        assert not served
        pool.resume()
        assert pool.settle(10) == ""
        waiting.join(10)
        assert served == [(1,)]
    assert not pool.paused


def test_a_pause_is_given_again_when_somebody_else_resumes_and_a_resume_is_given_once(
    bouncer: Bouncer, manage: Callable[..., BouncerPool]
) -> None:
    pool = manage(bouncer)
    pool.pause()
    assert pool.settle(10) == ""
    bouncer.console("RESUME app")
    until(lambda: all(row["paused"] for row in _ours(bouncer)), "it to be paused again")
    pool.resume()
    assert pool.settle(10) == ""
    bouncer.console("PAUSE app")  # who does so on the console has a reason
    until(lambda: "paused, and others not" in pool.problem, "that to be told")
    assert [row["paused"] for row in _ours(bouncer)] == [1, 0]


@pytest.mark.every_pgbouncer
def test_a_pause_of_the_whole_by_somebodys_console_is_told_where_it_can_be_seen(
    bouncer: Bouncer, manage: Callable[..., BouncerPool]
) -> None:
    asked = bouncer.directory.with_suffix(".log").read_text().count("ERROR invalid command 'SHOW STATE'")
    pool = manage(bouncer)
    seen(pool)
    bouncer.console("PAUSE")
    try:
        if bouncer.version >= (1, 19):
            until(lambda: pool.problem, "it to be told")
            told = "is paused as a whole, by its console: RESUME there ends that"
            assert pool.problem == f"PgBouncer at {pool.address} {told}"
        else:  # which has no list that says so, and would log each question
            last = pool.instances[0].picture
            until(lambda: pool.instances[0].picture is not last, "another round")
            assert pool.problem == ""
            assert (
                bouncer.directory.with_suffix(".log").read_text().count("ERROR invalid command 'SHOW STATE'")
                <= asked + 1
            )
        # Its databases are not.
        assert not pool.paused
    finally:
        bouncer.console("RESUME")
    until(lambda: not pool.problem, "it to be over")


#: What a line `*` in its file lets clients call a database; the third one's words would reach another one.
NAMES = (
    "my-app",
    'quo"te',
    "x; KILL app",
    'app" ; KILL app',
    "two words",
    "Ünïcode",
    "it's",
    "a=b",
    "back\\slash",
    "x" * 63,
)


@pytest.mark.long
@pytest.mark.every_pgbouncer
def test_a_database_may_be_called_as_pgbouncer_lets_it_be_called(
    make_bouncer: Callable[..., Bouncer], manage: Callable[..., BouncerPool]
) -> None:
    bouncer = make_bouncer({"app": "", "*": ""})
    pool = manage(bouncer, DATABASES=list(NAMES))
    got = urlsplit(bouncer.url())
    place = {"host": got.hostname, "port": got.port, "user": got.username, "password": got.password}
    with bouncer.client() as other, ExitStack() as stack:
        other.execute("SELECT 1")
        clients = [stack.enter_context(psycopg.connect(dbname=name, **place, autocommit=True)) for name in NAMES]
        for each in clients:
            each.execute("SELECT 1")

        def listed() -> bool:
            seen = pool.instances[0].picture
            missing = [each.name for each in seen.databases if not each.there] if seen else []
            for name in missing:
                # PgBouncer may take one for unused whose first client is just logging in; the next client lists it again.
                psycopg.connect(dbname=name, **place).close()
            return seen is not None and not missing

        until(listed, "them to be seen")
        pool.pause()
        assert pool.settle(20) == ""
        assert {row["name"] for row in bouncer.console("SHOW DATABASES") if row["paused"]} == set(NAMES)
        pool.resume()
        assert pool.settle(20) == ""
        for each in clients:
            each.execute("SELECT 1")
        result = pool.recycle(20)
        assert (result.replaced, result.failed) == (len(NAMES), "")
        assert (pool.cut_off("disable"), pool.cut_off("enable"), pool.cut_off("kill")) == ("", "", "")
        for each in clients:
            with pytest.raises(psycopg.OperationalError):
                each.execute("SELECT 1")
        other.execute("SELECT 1")


def test_a_recycle_replaces_server_connections_and_fails_nobody(
    bouncer: Bouncer, manage: Callable[..., BouncerPool]
) -> None:
    pool = manage(bouncer)
    with bouncer.client() as busy, bouncer.client("other", autocommit=True) as idle:
        before = {conn.execute("SELECT pg_backend_pid()").fetchone()[0] for conn in (busy, idle)}
        result = pool.recycle(0.5)
        assert (result.replaced, result.remaining, result.failed) == (1, 1, "")
        busy.rollback()
        after = {conn.execute("SELECT pg_backend_pid()").fetchone()[0] for conn in (busy, idle)}
        assert not before & after
    assert pool.snapshot().generation == 2


def test_after_somebodys_wait_close_it_is_told_that_a_pause_can_not_be_believed(
    make_bouncer: Callable[..., Bouncer], manage: Callable[..., BouncerPool]
) -> None:
    bouncer = make_bouncer({"app": ""})
    with bouncer.client() as once:
        once.execute("SELECT 1")
    bouncer.console("RECONNECT app")
    bouncer.console("WAIT_CLOSE app")
    pool = manage(bouncer)
    with bouncer.client() as busy:
        busy.execute("SELECT 1")
        pool.pause()
        assert pool.settle(10) == ""
        assert f"PgBouncer at {pool.address} answers WAIT_CLOSE to a PAUSE" in pool.problem
        pool.resume()
        assert pool.settle(10) == ""
    until(lambda: not pool.problem, "the problem to be over")


def test_holders_are_listed_now_and_then_where_there_are_many(
    bouncer: Bouncer, manage: Callable[..., BouncerPool], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(picture, "MANY", -1)
    with bouncer.client() as client:
        pid = client.execute("SELECT pg_backend_pid()").fetchone()[0]
        pool = manage(bouncer)
        assert len(seen(pool).holders) == 1
        last = pool.instances[0].picture
        until(lambda: pool.instances[0].picture is not last, "another round")
        found = pool.snapshot()
        assert ([each.backend_pid for each in found.holders], found.used) == ([pid], 1)
        assert pid in found.backend_pids


@pytest.mark.long
def test_a_client_whose_name_is_no_text_blinds_nobody(
    make_bouncer: Callable[..., Bouncer], manage: Callable[..., BouncerPool]
) -> None:  # P9
    bouncer = make_bouncer({"app": ""}, auth_type="trust")
    words = {
        b"user": str(bouncer.behind.username).encode(),
        b"database": b"app",
        b"application_name": b"\xff\xfe\x1b[31m",
    }
    startup = b"\0\3\0\0" + b"".join(key + b"\0" + value + b"\0" for key, value in words.items()) + b"\0"
    bouncer.client().close()  # it has to learn from the server once what it says at a login
    with socket.create_connection(("127.0.0.1", bouncer.port), timeout=5) as odd:
        odd.sendall((len(startup) + 4).to_bytes(4, "big") + startup)
        assert odd.recv(1000).startswith(b"R")  # it is let in
        pool = manage(bouncer)
        with bouncer.client(application_name="a report") as client:
            client.execute("SELECT 1")
            until(lambda: pool.snapshot().holders or pool.snapshot().last_error, "a look at the console")
            assert pool.snapshot().last_error == ""
            assert pool.snapshot().holders[0].thread.startswith("a report")


def test_one_connection_looks_on_however_many_rounds_there_are(
    bouncer: Bouncer, manage: Callable[..., BouncerPool]
) -> None:  # P12
    pool = manage(bouncer)
    seen(pool)
    first = pool.instances[0].picture
    assert first is not None
    # psycopg would prepare what is asked often, and the console ends who does so.
    until(lambda: pool.instances[0].picture and pool.instances[0].picture.at > first.at + 1.5, "some rounds")
    assert bouncer.consoles() == 1


def test_who_may_only_look_shows_all_and_tells_why_nothing_is_set(
    bouncer: Bouncer, manage: Callable[..., BouncerPool]
) -> None:  # P9
    pool = manage(bouncer, bouncer.console_url(ONLOOKER), {"max_size": 7})
    until(lambda: pool.problem, "the problem to be told")
    assert pool.problem == (
        f"PgBouncer at {pool.address} keeps default_pool_size at 20, which was set to 7: the console's user may look and"
        " change nothing: name it in admin_users of pgbouncer.ini, not in stats_users"
    )
    assert seen(pool).limit == 40
    pool.pause()
    assert "may look and change nothing" in pool.settle(10)
    result = pool.recycle(1)
    assert "may look and change nothing" in result.failed


@pytest.mark.long
def test_a_console_that_never_answers_meets_a_deadline_and_holds_up_nobody(
    bouncer: Bouncer, manage: Callable[..., BouncerPool]
) -> None:  # P8, P9
    proxy = Proxy(bouncer.port)
    try:
        pool = manage(bouncer, bouncer.console_url(port=proxy.port))
        seen(pool)
        proxy.freeze()
        found = until(lambda: (now := pool.snapshot()).last_error and now, "the silence to be told", timeout=15)
        assert "console does not answer" in found.last_error
        assert (found.used, found.idle, found.limit) == (0, 0, 0)  # nothing is known
        pool.pause()
        assert "does not answer" in pool.settle(10)
        proxy.reset()
        proxy.thaw()
        until(lambda: not pool.snapshot().last_error, "it to answer again", timeout=15)
        pool.resume()
        assert pool.settle(10) == ""
    finally:
        proxy.close()


def test_a_restart_is_followed_with_settings_pause_and_figures(
    make_bouncer: Callable[..., Bouncer], manage: Callable[..., BouncerPool]
) -> None:
    bouncer = make_bouncer({"app": ""})
    pool = manage(bouncer, pool={"max_size": 7})
    with bouncer.client(autocommit=True) as client:
        client.execute("SELECT 1")
    until(lambda: pool.snapshot().checkouts, "the client to be counted")
    pool.pause()
    assert pool.settle(10) == ""
    bouncer.stop()
    until(lambda: "nothing listens at the address" in pool.snapshot().last_error, "it to be missed")
    bouncer.start()
    until(
        lambda: pool.paused and bouncer.setting("default_pool_size") == "7", "what was asked to be so again", timeout=20
    )
    assert pool.snapshot().recent_checkouts == 0


def test_two_processes_of_one_pgbouncer_are_one_target(
    bouncer: Bouncer, make_bouncer: Callable[..., Bouncer], manage: Callable[..., BouncerPool]
) -> None:
    other = make_bouncer()
    pool = manage(bouncer, pool={"budget": 8}, OTHER_URLS=[other.console_url()])
    until(lambda: {each.setting("max_db_connections") for each in (bouncer, other)} == {"2"}, "shares of the budget")
    with bouncer.client() as one, other.client() as two:
        one.execute("SELECT 1")
        two.execute("SELECT 1")
        until(lambda: pool.snapshot().used == 2, "both clients to be seen")
    assert seen(pool).address == f"127.0.0.1:{bouncer.port}, 127.0.0.1:{other.port}"
    other.stop()
    found = until(lambda: (now := pool.snapshot()).last_error and now, "one of them to be missed")
    assert found.limit == 2 * 2
    assert f"127.0.0.1:{other.port}" in found.last_error


def test_nothing_is_done_before_this_process_leads_and_after_its_lead_is_over(
    bouncer: Bouncer, manage: Callable[..., BouncerPool]
) -> None:
    pool = manage(bouncer)
    seen(pool)
    pool.lead(0.0)
    follow_later = Desired(replace(pool.spec, max_size=9), "profile 1", 1)
    last = pool.instances[0].picture
    until(lambda: pool.instances[0].picture is last, "the round to end")
    pool.apply(follow_later)
    pool.instances[0].hurry()
    until(lambda: not pool.instances[0]._due.is_set(), "a round that does nothing")
    assert bouncer.setting("default_pool_size") == "20"
    pool.lead(inf)
    until(lambda: bouncer.setting("default_pool_size") == "9", "what was asked to be done")


def test_a_closed_one_leaves_no_connection_behind(bouncer: Bouncer, manage: Callable[..., BouncerPool]) -> None:  # P4
    pool = manage(bouncer)
    seen(pool)
    pool.close(5)
    until(lambda: bouncer.consoles() == 0, "the console to be left")
    assert pool.load() == (0, 0, 0)
    assert pool.snapshot().status == "closed"


def test_max_size_bounds_what_the_server_sees_and_more_serves_those_who_wait(
    bouncer: Bouncer, manage: Callable[..., BouncerPool]
) -> None:  # P5, P6
    pool = manage(bouncer)
    follow(pool, pool_mode="transaction", max_size=1)
    done = threading.Event()
    served: list[Any] = []

    def hold() -> None:
        with bouncer.client() as client:
            served.append(client.execute("SELECT 1").fetchone())
            done.wait(20)

    threads = [threading.Thread(target=hold) for _ in range(3)]
    for each in threads:
        each.start()
    try:
        until(lambda: (now := pool.snapshot()).pending == 2 and now.used == 1, "two to wait for the third")
        assert len(served) == 1
        follow(pool, pool_mode="transaction", max_size=3)
        until(lambda: len(served) == 3, "all to be served")
        assert pool.snapshot().limit == 6
        follow(pool, pool_mode="transaction", max_size=2)
    finally:
        done.set()
        for each in threads:
            each.join(20)
    until(lambda: (now := pool.snapshot()).idle == 2 and not now.used, "what is above it to be closed")


def test_who_waits_for_longer_than_connection_timeout_is_told_so_by_pgbouncer(
    bouncer: Bouncer, manage: Callable[..., BouncerPool]
) -> None:  # P8
    pool = manage(bouncer)
    follow(pool, pool_mode="transaction", max_size=1, connection_timeout=1)
    until(lambda: len(bouncer.console("SHOW SERVERS")) <= 1, "what other tests left to be closed")
    with bouncer.client() as busy:
        late = bouncer.client()
        busy.execute("SELECT 1")
        with pytest.raises(psycopg.Error, match="query_wait_timeout"):
            late.execute("SELECT 1")
        late.close()


def test_a_pool_before_a_pgbouncer_that_takes_no_more_clients_says_so(
    make_bouncer: Callable[..., Bouncer],
) -> None:  # P9
    full = make_bouncer({"app": ""}, max_client_conn=1)
    with full.client():
        pool = managed_pool(full.url(), max_size=1, connection_timeout=0.5)
        try:
            with pytest.raises(ServerFull, match="PgBouncer takes no more clients: raise its max_client_conn"):
                pool.checkout()
        finally:
            pool.close()


@pytest.mark.long
@pytest.mark.every_pgbouncer
def test_a_kill_while_clients_log_in_leaves_pgbouncer_alive(
    make_bouncer: Callable[..., Bouncer], manage: Callable[..., BouncerPool]
) -> None:
    bouncer = make_bouncer({"app": "", "other": ""}, pool_mode="session", default_pool_size=5, server_login_retry=1)
    pool, stop, came = manage(bouncer), threading.Event(), []

    def come_and_go() -> None:
        while not stop.is_set():
            with suppress(psycopg.OperationalError), bouncer.client(connect_timeout=5):
                came.append(1)

    with ThreadPoolExecutor(30) as workers:
        done = [workers.submit(come_and_go) for _ in range(30)]
        try:
            for _ in range(4):
                before = len(came)
                until(lambda before=before: len(came) > before + 30, "clients to come and go")
                assert pool.cut_off("kill", "app") == ""
                # Whoever was logging in is told by a PgBouncer that goes on, and lets others in again.
                found = {row["name"]: (row["paused"], row["disabled"]) for row in bouncer.console("SHOW DATABASES")}
                assert (found["app"], found["other"]) == ((1, 0), (0, 0))
                bouncer.client("other").close()
                pool.resume("app")
                assert pool.settle(10, "app") == ""
        finally:
            stop.set()
    assert [each.exception() for each in done] == [None] * 30
    assert bouncer.alive


@pytest.mark.long
def test_a_kill_that_is_refused_leaves_nothing_disabled(bouncer: Bouncer, manage: Callable[..., BouncerPool]) -> None:
    pool = manage(bouncer)
    bouncer.console("PAUSE")
    try:
        # Nor does somebody hinder it who connects and says nothing, as a load balancer may.
        with socket.create_connection(("127.0.0.1", bouncer.port)):
            until(lambda: _items(bouncer, "login_clients"), "it to be let in")
            assert "already suspended/paused" in pool.cut_off("kill")
            assert [row["disabled"] for row in _ours(bouncer)] == [0, 0]
    finally:
        bouncer.console("RESUME")
    assert [row["disabled"] for row in _ours(bouncer)] == [0, 0]


@pytest.mark.long
def test_a_login_that_does_not_end_keeps_a_killed_database_closed(
    make_bouncer: Callable[..., Bouncer], manage: Callable[..., BouncerPool]
) -> None:
    bouncer = make_bouncer({"app": "", "other": ""}, client_login_timeout=6)
    pool = manage(bouncer)
    with bouncer.client() as first, socket.create_connection(("127.0.0.1", bouncer.port)) as stuck:
        first.execute("SELECT 1")
        words = b"\0\3\0\0user\0" + str(bouncer.behind.username).encode() + b"\0database\0app\0\0"
        stuck.sendall((len(words) + 4).to_bytes(4, "big") + words)
        assert stuck.recv(1) == b"R"  # it asks for a password
        told = pool.cut_off("kill", "app")
        assert "'app': its clients are cut off, and it stays disabled" in told
        with pytest.raises(psycopg.OperationalError):
            first.execute("SELECT 1")
        assert [(row["paused"], row["disabled"]) for row in _ours(bouncer)] == [(1, 1), (0, 0)]
        until(lambda: not stuck.recv(1000), "it to be sent away", timeout=15)
    assert pool.cut_off("enable", "app") == ""
    assert bouncer.alive


def test_unused_connections_are_closed_after_idle_timeout_and_kept_without(
    bouncer: Bouncer, manage: Callable[..., BouncerPool]
) -> None:
    pool = manage(bouncer)
    follow(pool, pool_mode="transaction", idle_timeout=1)
    with bouncer.client(autocommit=True) as client:
        client.execute("SELECT 1")
        until(lambda: pool.snapshot().idle, "it to be idle")
        until(lambda: not pool.snapshot().idle, "it to be closed")


def test_a_forked_child_leaves_the_console_to_its_parent(bouncer: Bouncer, manage: Callable[..., BouncerPool]) -> None:
    pool = manage(bouncer)
    seen(pool)
    child = os.fork()
    if not child:
        registry.pools()  # by which it notices
        pool.lead(inf)
        pool.pause()
        del pool
        gc.collect()
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    last = pool.instances[0].picture
    until(lambda: pool.instances[0].picture is not last, "another round")
    assert pool.instances[0].picture is not None
    assert not pool.paused
    assert bouncer.consoles() == 1


def test_clients_through_it_go_on_while_all_is_changed(
    bouncer: Bouncer, manage: Callable[..., BouncerPool]
) -> None:  # P5
    pool = manage(bouncer)
    stop, failed, done = threading.Event(), [], []

    def work() -> None:
        try:
            with bouncer.client(autocommit=True) as client:
                while not stop.is_set():
                    done.append(client.execute("SELECT 1").fetchone())
        except psycopg.Error as error:
            failed.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for each in threads:
        each.start()
    try:
        for size in (1, 5, 2):
            follow(pool, pool_mode="transaction", max_size=size)
            assert pool.recycle(10).remaining == 0
        pool.pause()
        assert pool.settle(10) == ""
        pool.resume()
        assert pool.settle(10) == ""
        count = len(done)
        until(lambda: failed or len(done) > count + 4, "clients to be served")
    finally:
        stop.set()
        for each in threads:
            each.join(10)
    assert failed == [], bouncer.directory.with_suffix(".log").read_text()


def _items(bouncer: Bouncer, name: str) -> int:
    return next(int(row["items"]) for row in bouncer.console("SHOW LISTS") if row["list"] == name)


def _ours(bouncer: Bouncer) -> list[dict[str, Any]]:
    return [row for row in bouncer.console("SHOW DATABASES") if row["name"] in bouncer.databases]
