"""What the thread of a health check does not: a child that is forked meanwhile would find its import's lock held for ever."""

import json
import subprocess
import sys
from typing import Any
from urllib.parse import urlsplit

import pytest

from poolsite.demo.servers import EmbeddedPostgres, EmbeddedRedis

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
