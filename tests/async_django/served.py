"""Clients of an ASGI server that serves `tests.async_django.site`: some stay, some hang up."""

import json
import os
import socket
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg

from tests import pools
from tests.integration.serving import served, uvicorn
from tests.threads import at_once
from tests.waiting import until

APPLICATION = "tests.async_django.site.asgi:application"
SERVERS = {
    "uvicorn": uvicorn(APPLICATION),
    "daphne": ["daphne", "--bind", "127.0.0.1", "--port", "{port}", APPLICATION],
}
MAX_SIZE = 3


class Site:
    """A site that is served; ``url`` is its database's."""

    def __init__(self, address: str, url: str) -> None:
        self.address, self.url = address, url

    def get(self, path: str, leave_after: float | None = None) -> str:
        """The answer, status line included; with ``leave_after``, what had come in so many seconds, when the client left."""
        host, port = str(urlsplit(self.address).hostname), int(urlsplit(self.address).port or 0)
        got = b""
        with socket.create_connection((host, port), timeout=30) as client:
            client.sendall(f"GET /{path} HTTP/1.1\r\nHost: site\r\nConnection: close\r\n\r\n".encode())
            client.settimeout(leave_after or 30)
            try:
                while part := client.recv(65536):
                    got += part
            except TimeoutError:
                assert leave_after, f"no answer to {path}, but {got!r}"
        return got.decode()

    def figures(self, query: str = "") -> dict[str, Any]:
        with urllib.request.urlopen(f"{self.address}/figures?{query}", timeout=30) as response:
            answer: dict[str, Any] = json.load(response)
        return answer

    def is_quiet(self) -> bool:
        seen = self.figures()
        return seen["used"] == seen["pending"] == 0 and seen["size"] == len(pools.backends(self.url))

    def serve_in_modes(self, kinds: list[str], timeout: float = 5.0) -> Iterator[dict[str, Any]]:
        """Serve them in each pool mode that has transactions; the figures when all is back."""
        for mode in ("session", "transaction"):
            self.figures(f"mode={mode}")
            self.serve(kinds, turns=6)
            until(self.is_quiet, lambda: f"all to be back: {self.figures()}", timeout=timeout)
            yield self.figures()

    def serve(self, kinds: list[str], turns: int) -> None:
        """Each answer is its request's, and of each kind some clients leave: at once, and in the middle."""

        def ask(number: int) -> None:
            kind, mark = kinds[number % len(kinds)], f"m{number}"
            leaves = number // len(kinds) % 3
            if kind in ("waits", "sleeps"):
                self.get(f"{kind}?mark={mark}", leave_after=0.05 + number % 5 / 10)
            elif leaves == 1:
                self.get(f"{kind}?mark={mark}&parts=200", leave_after=0.01 * (number % 7) + 0.001)
            else:
                answer = self.get(f"{kind}?mark={mark}")
                assert answer.split()[1] == ("500" if kind == "fails" else "200"), answer
                if kind != "fails":
                    assert mark in answer, answer

        came = at_once(*(partial(ask, number) for number in range(turns * len(kinds))))
        failed = [repr(each)[:600] for each in came if each is not None]
        assert not failed, "\n".join(failed)


@contextmanager
def site(server: str, half: str, url: str, log: Path, **environment: str) -> Iterator[Site]:
    """With more for its ``environment``, such as MIDDLEWARE. Afterwards no session of its pool is left."""
    pools.emptied(url)
    with psycopg.connect(url) as connection:
        connection.execute("DROP TABLE IF EXISTS auth_group, auth_user_groups, auth_group_permissions")
        connection.execute("CREATE TABLE auth_group (id serial PRIMARY KEY, name varchar(150) UNIQUE)")
        # What a delete of Django's looks into.
        connection.execute("CREATE TABLE auth_user_groups (id serial, user_id int, group_id int)")
        connection.execute("CREATE TABLE auth_group_permissions (id serial, group_id int, permission_id int)")
        connection.execute("INSERT INTO auth_group (name) VALUES ('one')")
    environment = {
        "MIDDLEWARE": "",
        **os.environ,
        **environment,
        "DJANGO_SETTINGS_MODULE": "tests.async_django.site.settings",
        "DATABASE_URL": url,
        "HALF": half,
        "POOL": json.dumps({"min_size": 0, "max_size": MAX_SIZE, "connection_timeout": 20}),
    }
    with served(SERVERS[server], environment, log) as address:
        yield Site(address, url)
    until(lambda: not pools.backends(url), "the end of the site's sessions")
