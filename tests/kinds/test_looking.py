"""What a look at a server finds, whatever the kind, and what its thread does not: a child that is forked in the middle of an
import would find its lock held for ever."""

import json
import subprocess
import sys
from time import monotonic
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest

from poolmgr.metrics.blocking import tree
from poolmgr.pools.looking import Look
from poolmgr.targets.known import kind_of, prepare_look, prober
from poolsite.demo.servers import EmbeddedPostgres, EmbeddedRedis
from tests.agents import without_agent
from tests.threads import Begun
from tests.waiting import until

# Prints of each target how it is, and what the thread that looked at it imported. The settings come by standard input.
LOOK = """
import json, sys, threading, types, celery, django
from django.conf import settings
given = json.load(sys.stdin)
sys.modules["planted"] = types.ModuleType("planted")
sys.modules["planted"].app = celery.Celery("planted", broker=given.pop("broker"))
settings.configure(INSTALLED_APPS=["poolmgr"], **given)
django.setup()
from poolmgr.control.reporting.probe import Probe
from poolmgr.targets.known import known_targets
class Noted:
    names = []
    @staticmethod
    def find_spec(name, path=None, target=None):
        if threading.current_thread() is not threading.main_thread():
            Noted.names.append(name)
sys.meta_path.insert(0, Noted)
found = {}
for target in known_targets():
    Noted.names.clear()
    check = Probe(target, 20.0, lambda: None).result(())
    found[target] = [check.state, check.message, *Noted.names]
print(json.dumps(found))
"""


@pytest.mark.long
@pytest.mark.parametrize("driver", ["psycopg", "asyncpg"])
def test_threads_that_look_at_servers_import_nothing(  # P3
    postgres: EmbeddedPostgres, redis_server: EmbeddedRedis, driver: str, tmp_path: Any
) -> None:
    url, redis = postgres.create_database("kinds"), redis_server.url()
    parts = urlsplit(url)
    where = {"HOST": parts.hostname, "PORT": parts.port, "USER": parts.username, "PASSWORD": parts.password}
    default = {"ENGINE": "poolmgr.backends.postgresql", "NAME": parts.path[1:], "OPTIONS": {"pool": True}, **where}
    targets = {
        "broker": {"KIND": "kombu", "APP": "planted.app"},
        "engine": {"KIND": "sqlalchemy", "URL": url.replace("postgresql:", f"postgresql+{driver}:")},
        "file": {"KIND": "sqlalchemy", "URL": f"sqlite:///{tmp_path}/one"},
        "queue": {"KIND": "redis", "URL": redis},
        "vectors": {"KIND": "asyncpg", "URL": url},
    }
    given = {"DATABASES": {"default": default}, "POOLMGR": {"AGENT": False, "TARGETS": targets}, "broker": redis}
    done = subprocess.run(
        [sys.executable, "-c", LOOK], input=json.dumps(given), capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found.keys() == {"default", *targets}
    assert {target: (state, imported) for target, (state, _, *imported) in found.items()} == dict.fromkeys(
        found, ("ok", [])
    ), found


@pytest.mark.long
@pytest.mark.parametrize(
    ("kind", "scheme"),
    [("asyncpg", "postgresql"), ("sqlalchemy", "postgresql+psycopg"), ("sqlalchemy", "postgresql+asyncpg")],
)
def test_every_driver_tells_who_blocks_whom_and_who_is_there(
    settings: Any, postgres: EmbeddedPostgres, kind: str, scheme: str
) -> None:
    url = postgres.create_database("kinds")
    declared = {"shown": {"KIND": kind, "URL": url.replace("postgresql", scheme, 1), "POOL": {}}}
    without_agent()
    settings.POOLMGR = {**settings.POOLMGR, "AGENT": False, "TARGETS": declared}
    with (
        psycopg.connect(url, application_name="100 %s :x") as root,
        psycopg.connect(url, application_name="w") as waiter,
    ):
        root_pid, waiter_pid = root.info.backend_pid, waiter.info.backend_pid
        root.execute("SELECT pg_advisory_xact_lock(4711)")
        waiting = Begun(lambda: waiter.execute("SELECT pg_advisory_xact_lock(4711)"))
        try:
            found = until(lambda: (told := looked_at("shown")).sessions and told)
        finally:
            root.rollback()
            waiting.end()
    assert [(each.session.name, each.depth) for each in tree(found.sessions)] == [("100 %s :x", 0), ("w", 1)]
    assert {root_pid, waiter_pid} <= {*found.ids}
    assert (found.used, found.behind_pooler) == (len(found.ids), False)
    there = {each.name: each.pids for each in found.groups}
    assert (there["100 %s :x"], there["w"]) == ((root_pid,), (waiter_pid,))


def looked_at(target: str, query: str = "SELECT 1") -> Look:
    kind, found = kind_of(target), Look("")
    assert kind is not None
    prepare_look(kind, target)
    prober(kind)(target, found, lambda: query, monotonic() + 5, 30.0)
    return found


@pytest.mark.parametrize(
    ("kind", "scheme"),
    [("asyncpg", "postgresql"), ("sqlalchemy", "postgresql+psycopg"), ("sqlalchemy", "postgresql+asyncpg")],
)
def test_a_look_tells_what_the_server_says_to_a_query(
    postgres: EmbeddedPostgres, settings: Any, kind: str, scheme: str
) -> None:
    """Of PostgreSQL's own kind the form's tests see it."""
    url = postgres.create_database("kinds").replace("postgresql:", f"{scheme}:")
    settings.POOLMGR = {"AGENT": False, "TARGETS": {"asked": {"KIND": kind, "URL": url}}}
    without_agent()
    works = looked_at("asked", "SELECT 41 + 1")
    assert (works.query_error, works.verdicts) == ("", [])
    fails = looked_at("asked", "SELECT 1 FROM nowhere")
    assert fails.query_error == 'relation "nowhere" does not exist'
    [verdict] = fails.verdicts
    assert "SQLSTATE 42P01" in verdict.sentence
    assert fails.most, "the rest is asked all the same"
    read = looked_at("asked", "SELECT ('planted' || length(now()::text))::int")
    assert "planted" not in str(read.query_error)
    away = Look("")
    settings.POOLMGR = {"AGENT": False, "TARGETS": {"asked": {"KIND": kind, "URL": f"{scheme}://nobody@127.0.0.1:1/x"}}}
    with pytest.raises(Exception, match=r"nothing listens|refused"):
        prober(kind_of("asked"))("asked", away, lambda: "SELECT 2", monotonic() + 5, 30.0)  # type: ignore[arg-type]
    assert away.query_error is None
