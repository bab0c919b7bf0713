"""Statement mode refuses transactions to the site. Whoever keeps the site must still get in, to set another mode."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import uuid
from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.management import call_command
from django.core.management.base import BaseCommand
from django.db import connection, transaction
from django.test import Client

import poolmgr
from poolmgr import checks, tasks
from poolmgr.control.commanding import commands
from poolmgr.control.editing.profiles import save_profile
from poolmgr.control.reporting.fleet import read_fleet
from poolmgr.exceptions import ModeError
from poolmgr.metrics.health import Verdict, verdict_of
from poolmgr.metrics.snapshot import PoolSnapshot
from poolmgr.models import Acknowledgement, HealthCheck, PoolProfile, Sample
from poolmgr.pools import registry
from poolmgr.pools.lane import console_lane
from poolmgr.targets.postgresql.managed import ManagedPool
from poolsite.demo.servers import EmbeddedPostgres
from poolsite.docsearch.models import Document

from .backend import is_held, query, run_in_thread
from .console import PASSWORD, beat, own_fleet, person, signed_in
from .control_fleet import TestFleet, wait_for
from .sampled import take_first

REFUSED = "its pool_mode is statement"


def said_of(pool: PoolSnapshot) -> Verdict:
    return verdict_of("web", "host:1", pool, pool.at)


@pytest.fixture
def statement(small_pool: Callable[..., ManagedPool], settings: Any, redis_server: Any) -> ManagedPool:
    """The control database's own pool, in statement mode."""
    own_fleet(settings, redis_server)
    operator = person("operator", superuser=True)
    save_profile(PoolProfile(target="default", max_size=4), operator.username)
    connection.close()
    # A new pool: what other tests of the last minute did to the old one would be in the verdict.
    registry.close("default")
    pool = small_pool("statement", max_size=4)
    query()  # an idle connection, so that the console lane need not connect directly
    return pool


def sign_in() -> Client:
    with console_lane():  # as the middleware has it
        return signed_in(User.objects.get())


def transact() -> None:
    with transaction.atomic():
        query()


def is_refused() -> bool:
    """To the site, which every test here makes sure of: an exemption that reaches it would make the mode mean nothing."""
    with pytest.raises(ModeError, match=REFUSED):
        transact()
    return True


def test_the_operator_logs_in_and_saves_another_mode(statement: ManagedPool) -> None:  # P10
    assert is_refused()
    client = Client()
    logged_in = client.post("/admin/login/", {"username": "operator", "password": PASSWORD, "next": "/admin/"})
    assert (logged_in.status_code, logged_in.headers["Location"]) == (302, "/admin/")
    profile = PoolProfile.objects.get()
    page = f"/admin/poolmgr/poolprofile/{profile.pk}/change/"
    values = {name: str(value) for name, value in profile.values().items()}
    values |= {"enabled": "on", "pool_mode": "transaction", "seen_revision": str(profile.revision)}
    saved = client.post(page, values)
    assert saved.status_code == 302
    profile.refresh_from_db()
    assert profile.pool_mode == "transaction"
    assert client.post("/pools/command/", {"kind": "resume", "target": "default"}).status_code == 302
    assert client.post("/admin/logout/").status_code in (200, 302)
    assert not is_held()
    assert is_refused()


def test_what_the_site_s_own_code_orders_of_the_fleet_is_done(statement: ManagedPool) -> None:  # P10
    assert is_refused()
    commands.send("resume", "default", "the site")
    profile = PoolProfile.objects.get()
    profile.pool_mode = "transaction"
    assert save_profile(profile, "the site") is not None


def test_our_tasks_run(statement: ManagedPool, settings: Any) -> None:  # P10
    settings.POOLMGR = {**settings.POOLMGR, "COMMAND_TTL": 1}
    beat()
    assert tasks.check_target("default").startswith("default is ")
    assert tasks.tick().endswith(" checks started")
    assert take_first() == 1
    assert tasks.prune() == "0 rows deleted"
    assert tasks.sweep() == "0 dead processes cleared away"
    # The process that reported above is none that could answer.
    assert tasks.recycle("default") == "0 of 1 process recycled default; 1 failed."
    assert HealthCheck.objects.exists()
    assert Sample.objects.exists()
    assert is_refused()


def test_an_agent_beats_and_answers_without_redis(
    transactional_db: None, postgres: EmbeddedPostgres, settings: Any
) -> None:  # P10, P11
    given = {"NAMESPACE": f"t{uuid.uuid4().hex[:8]}", "POLL_INTERVAL": 0.3}
    settings.POOLMGR = {**given, "AGENT": False}
    fleet = TestFleet(postgres, given)
    try:
        save_profile(PoolProfile(target="default", pool_mode="statement"), "operator")
        (member,) = fleet.start(1)
        wait_for(lambda: member.first(profile=f"profile {PoolProfile.objects.get().pk}"), 30)
        wait_for(lambda: len(read_fleet().processes) == 1, 30)
        commands.send("pause", "default", "operator")
        wait_for(lambda: Acknowledgement.objects.filter(state="done").exists(), 30)
        assert member.last["status"] == "paused"
        assert read_fleet().processes[0].problems == ()
    finally:
        fleet.stop()


@pytest.mark.long
def test_migrations_run(transactional_db: None, postgres: EmbeddedPostgres) -> None:
    environment = {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "tests.integration.control_settings",
        "DATABASE_URL": postgres.create_database("unmigrated"),
        "TEST_POOLMGR": json.dumps({}),
        "TEST_POOL": json.dumps({"pool_mode": "statement", "min_size": 1, "max_size": 4}),
    }
    site = [sys.executable, "manage.py"]
    done = subprocess.run([*site, "migrate"], env=environment, capture_output=True, text=True, timeout=110)
    assert done.returncode == 0, done.stdout + done.stderr
    # In a thread of a command, which works for it.
    code = (
        "from threading import Thread; from django.db import transaction as t; from django.contrib.auth.models import User\n"
        "def work():\n  with t.atomic(): print(User.objects.count(), 'users')\n"
        "one = Thread(target=work); one.start(); one.join()"
    )
    done = subprocess.run([*site, "shell", "-c", code], env=environment, capture_output=True, text=True, timeout=110)
    assert "0 users" in done.stdout, done.stdout + done.stderr
    # And not in a program that is none: there the mode holds.
    code = f"import django; django.setup()\n{code}"
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=110)
    assert REFUSED in done.stderr


class _Transacts(BaseCommand):
    requires_system_checks: list[str] = []

    def handle(self, *args: Any, **options: Any) -> None:
        transact()


def test_a_command_that_is_called_by_other_code_runs(statement: ManagedPool) -> None:
    call_command(_Transacts())
    assert not is_held()
    assert is_refused()
    # A server's requests are the site's, whichever command serves them.
    serving = type("Command", (_Transacts,), {"__module__": "django.core.management.commands.runserver"})
    with pytest.raises(ModeError):
        call_command(serving())


def test_unpooled_may_transact_as_the_refusal_says(statement: ManagedPool) -> None:
    with poolmgr.unpooled():
        transact()
        query("BEGIN")
        query("COMMIT")
    assert is_refused()


def test_refused_transactions_are_counted_and_said(statement: ManagedPool) -> None:  # P9
    before = statement.snapshot().refused
    assert is_refused()
    with pytest.raises(ModeError):
        query("BEGIN")
    with pytest.raises(ModeError):
        run_in_thread(lambda: Document.objects.bulk_create([]) or transact())
    seen = statement.snapshot()
    assert seen.refused == before + 3
    said = f"{seen.recent_refused} transactions were refused in the last minute"
    assert said_of(seen).state == "critical"
    assert said_of(seen).sentence.startswith(said)
    beat()
    client = sign_in()
    page = client.get("/pools/").content.decode()
    assert said in page
    assert "set it to transaction" in page
    assert "All is well" not in page
    scraped = client.get("/pools/metrics?processes").content.decode()
    (line,) = [
        each for each in scraped.splitlines() if each.startswith("db_client_connection_refused_transactions_total{")
    ]
    assert line.endswith(f" {seen.refused}")
    report = client.get("/pools/api/v1/status").json()
    assert report["targets"][0]["refused"] == seen.recent_refused


def test_what_was_refused_is_over_with_the_mode(statement: ManagedPool, small_pool: Callable[..., ManagedPool]) -> None:
    assert is_refused()
    assert said_of(statement.snapshot()).state == "critical"
    connection.close()
    pool = small_pool("transaction", max_size=4)
    transact()
    assert "refused" not in said_of(pool.snapshot()).sentence


def test_the_form_says_what_it_would_do_to_this_site(statement: ManagedPool, settings: Any) -> None:
    client = sign_in()
    profile = PoolProfile.objects.get()
    page = f"/admin/poolmgr/poolprofile/{profile.pk}/change/"
    sessions = "SESSION_ENGINE keeps sessions in it, so that no session is saved and nobody can log in"
    assert sessions in client.get(page).content.decode()
    values = {name: str(value) for name, value in profile.values().items()} | {"enabled": "on"}
    answer = client.post(page, values | {"pool_mode": "statement", "_continue": "1"}, follow=True)
    said = answer.content.decode()
    assert "Statement mode refuses every transaction on “default”: atomic()" in said
    assert sessions in said
    settings.SESSION_ENGINE = "django.contrib.sessions.backends.signed_cookies"
    client = sign_in()
    assert sessions not in client.get(page).content.decode()


def test_the_system_check_finds_what_transacts(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(connection.settings_dict, "ATOMIC_REQUESTS", True)
    monkeypatch.setitem(connection.settings_dict, "AUTOCOMMIT", False)
    monkeypatch.setitem(connection.settings_dict["OPTIONS"], "pool", {"pool_mode": "statement"})
    settings.CACHES = {"pages": {"BACKEND": "django.core.cache.backends.db.DatabaseCache", "LOCATION": "pages"}}
    (found,) = checks.check_databases()
    assert found.id == "poolmgr.W006"
    for said in (
        "ATOMIC_REQUESTS is on",
        "AUTOCOMMIT is off",
        "SESSION_ENGINE keeps sessions",
        "CACHES['pages'] is kept",
    ):
        assert said in found.msg
