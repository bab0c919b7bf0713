"""The packages' quick starts under load: each answer belongs to its request, and nothing is left behind."""

import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest
from websockets.sync.client import connect

from tests.integration.backend import MODES
from tests.integration.serving import ROOT, gunicorn, served, uvicorn
from tests.pools import backends
from tests.waiting import until

pytestmark = [pytest.mark.long, pytest.mark.parametrize("mode", MODES)]

CLIENTS = 10
WSGI = gunicorn("tests.quickstarts.wsgi:application", threads=6, workers=2)
TENANTS = ("acme", "globex", "initech")


class Site:
    """A quick start with a database of its own, which its processes leave without a session."""

    def __init__(self, package: str, mode: str, url: str, directory: Path, **environment: str) -> None:
        # In session mode each thread of the server holds one.
        pool = {"pool_mode": mode, "min_size": 0, "max_size": 8 if mode == "session" else 3, "timeout": 20}
        self.url, self.directory = url, directory
        self.environment = {
            **os.environ,
            "DATABASE_URL": url,
            "PACKAGE": package,
            "POOL": json.dumps(pool),
            **environment,
        }
        self.environment["DJANGO_SETTINGS_MODULE"] = "tests.quickstarts.settings"

    def run(self, module: str, *arguments: str) -> None:
        command = [sys.executable, "-m", f"tests.quickstarts.{module}", *arguments]
        done = subprocess.run(command, env=self.environment, cwd=ROOT, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, f"{command}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"

    @contextmanager
    def served(self, command: list[str]) -> Iterator[str]:
        """Its address; at the end no session is in the middle of something, and then there is none."""
        with served(command, self.environment, self.directory / "server.log") as address:
            yield address
            until(lambda: not self.query(_BUSY), "every session to be idle")
        until(lambda: not backends(self.url), "the sessions to end")

    def query(self, statement: str) -> list[Any]:
        with psycopg.connect(self.url, autocommit=True) as console:
            return console.execute(statement).fetchall()


_BUSY = (
    "SELECT pid, state, query FROM pg_stat_activity WHERE datname = current_database() AND state <> 'idle'"
    " AND backend_type = 'client backend' AND pid <> pg_backend_pid()"
)

MakeSite = Callable[..., Site]


@pytest.fixture
def make_site(postgres: Any, tmp_path: Path, mode: str) -> MakeSite:
    def make(package: str, **environment: str) -> Site:
        name = "_".join(("quickstart", package, mode, *environment.values()))
        return Site(package, mode, postgres.create_database(name), tmp_path, **environment)

    return make


def get(address: str, path: str, host: str = "site") -> str:
    request = urllib.request.Request(f"{address}/{path}", headers={"Host": host})
    with urllib.request.urlopen(request, timeout=60) as answer:
        return str(answer.read().decode())


def at_once(ask: Callable[[int], None], number: int) -> None:
    """``ask(0)``, ``ask(1)``, … by several clients at a time; the first failure fails."""
    with ThreadPoolExecutor(CLIENTS) as clients:
        list(clients.map(ask, range(number)))


@pytest.mark.parametrize("limit_set_calls", ["0", "1"])
def test_django_tenants_shows_each_tenant_its_own_rows(make_site: MakeSite, limit_set_calls: str) -> None:  # P2
    site = make_site("tenants", LIMIT_SET_CALLS=limit_set_calls)
    site.run("manage", "migrate_schemas", "--shared", "-v0")
    site.run("customers.setup")
    with site.served(WSGI) as address:

        def ask(number: int) -> None:
            tenant, path = TENANTS[number % 3], ("notes", "written", "streamed")[number % 7 % 3]
            assert set(get(address, path, f"{tenant}.site").split()) == {tenant}, path

        at_once(ask, 210)


def test_django_pghistory_s_events_bear_their_request_s_context(make_site: MakeSite) -> None:  # P2
    site = make_site("pghistory")
    # pghistory's own tables come first, since those of the models that it tracks refer to them.
    site.run("manage", "migrate", "pghistory", "-v0")
    site.run("manage", "migrate", "--run-syncdb", "-v0")
    site.run("manage", "pgtrigger", "install")
    with site.served(WSGI) as address:

        def ask(number: int) -> None:
            events = json.loads(get(address, f"tracked/t{number}"))
            assert [event[:2] for event in events] == [[step, f"/tracked/t{number}"] for step in range(3)]
            assert len({event[2] for event in events}) == 1

        at_once(ask, 150)


def test_django_silk_records_each_request_s_own_queries(make_site: MakeSite) -> None:  # P3
    site = make_site("silk")
    site.run("manage", "migrate", "-v0")
    with site.served(WSGI) as address:

        def ask(number: int) -> None:
            token, path = f"t{number}-", ("looked", "stream")[number % 2]
            assert set(get(address, f"{path}/{token}").split()) == {token}

        at_once(ask, 100)
    recorded = site.query(
        "SELECT path, query FROM silk_request r JOIN silk_sqlquery q ON q.request_id = r.id WHERE query ~ 't[0-9]+-'"
    )
    assert len(recorded) == 50
    assert [row for row in recorded if row[0].split("/")[-1] not in row[1]] == []


def test_procrastinate_s_jobs_commit_with_their_transaction_and_run_once(make_site: MakeSite) -> None:  # P4
    site = make_site("procrastinate")
    site.run("manage", "migrate", "-v0")
    with site.served(WSGI) as address:

        def ask(number: int) -> None:
            path = ("deferred", "deferred", "echo")[number % 3]
            assert get(address, f"{path}/t{number}") == f"t{number}"

        at_once(ask, 120)
    site.run("manage", "procrastinate", "worker", "--one-shot", "--concurrency", "6")
    until(lambda: not backends(site.url), "the worker's sessions to end")
    seen = dict(site.query("SELECT text, seen FROM notes_note"))
    assert len(seen) == 80
    assert {text for text, times in seen.items() if times != (0 if text.endswith("0") else 2)} == set()


def test_channels_tells_each_room_what_was_said_in_it(make_site: MakeSite) -> None:  # P3 P4
    """By clients of whom a third hangs up in the middle of what it says."""
    site = make_site("channels")
    site.run("manage", "migrate", "-v0")
    with site.served(uvicorn("tests.quickstarts.asgi:application")) as address:

        def ask(number: int) -> None:
            if number % 4 == 0:
                assert get(address, f"echo/t{number}") == f"t{number}"
                return
            with connect(f"ws://{urlsplit(address).netloc}/room/{number}", open_timeout=30) as socket:
                for step in range(4):
                    words = f"{number}-{step}"
                    socket.send(json.dumps(words))
                    if number % 3 == 0 and step == 2:
                        socket.socket.close()
                        return
                    assert json.loads(socket.recv(timeout=30)) == [words] * 3

        at_once(ask, 60)


PRELOADED = "tests.quickstarts.preloaded:application"
UWSGI = [
    *("tests.quickstarts.uwsgi", "--module", PRELOADED, "--http-socket", "{address}", "--die-on-term"),
    *("--master", "--processes", "2", "--threads", "4", "--enable-threads"),
]
SERVERS = {
    "gunicorn": WSGI,
    "gunicorn --preload": [*gunicorn(PRELOADED, threads=6, workers=2), "--preload"],
    "uvicorn": uvicorn("tests.quickstarts.asgi:http"),
    "daphne": ["daphne", "--bind", "127.0.0.1", "--port", "{port}", "tests.quickstarts.asgi:http"],
    # Its forks are none of Python's, and no hook hears of them.
    "uwsgi": UWSGI,
    "uwsgi lazy-apps": [*UWSGI, "--lazy-apps"],
}


@pytest.mark.parametrize("server", SERVERS)
def test_each_answer_of_a_server_belongs_to_its_request(make_site: MakeSite, server: str) -> None:  # P2 P3 P4
    """Also those that come in parts; some clients hang up in the middle of them."""
    site = make_site("servers", NUMBER=str(list(SERVERS).index(server)))
    site.run("manage", "migrate", "-v0")
    with site.served(SERVERS[server]) as address:

        def ask(number: int) -> None:
            path = ("echo", "stream", "written")[number % 3]
            if number % 12 == 1:
                urllib.request.urlopen(f"{address}/{path}/t{number}", timeout=60).close()
            else:
                assert set(get(address, f"{path}/t{number}").split()) == {f"t{number}"}, path

        at_once(ask, 240)
