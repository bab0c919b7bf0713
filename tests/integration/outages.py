"""A site on a PostgreSQL of its own, which a test may stop, fill and freeze under it."""

from __future__ import annotations

import http.cookiejar
import json
import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import psutil
import psycopg

from poolsite.demo.browser import Browser, Page
from poolsite.demo.servers import EmbeddedPostgres, EmbeddedRedis
from tests.waiting import until

from .console import PASSWORD
from .serving import served

_PEOPLE = """
import django; django.setup()
from django.contrib.auth.models import Group, Permission, User
User.objects.create_superuser("operator", password={password!r})
viewer = User.objects.create_user("viewer", password={password!r}, is_staff=True)
viewer.user_permissions.set(Permission.objects.filter(codename="view_poolprofile"))
group = Group.objects.create(name="viewers")
group.permissions.set(viewer.user_permissions.all())
"""


class OutageSite:
    """Its database is migrated and has an operator and a viewer; its processes run until the test ends."""

    def __init__(self, postgres: EmbeddedPostgres, redis: EmbeddedRedis | None, directory: Path) -> None:
        self.postgres = postgres
        self.directory = directory
        self.stack = ExitStack()
        self.poolmgr: dict[str, Any] = {
            "NAMESPACE": f"t{uuid.uuid4().hex[:8]}",
            "HEARTBEAT_INTERVAL": 0.3,
            "POLL_INTERVAL": 0.5,
            "METRICS_TOKEN": "a token for scrapers",
            **({"REDIS_URL": redis.url()} if redis else {}),
        }
        self.environment = {
            **os.environ,
            "DJANGO_SETTINGS_MODULE": "tests.integration.control_settings",
            "DATABASE_URL": postgres.create_database("site"),
        }

    def prepare(self) -> None:
        people = [sys.executable, "-c", _PEOPLE.format(password=PASSWORD)]
        for command in ([sys.executable, "manage.py", "migrate", "--verbosity", "0"], people):
            subprocess.run(command, env=self._filled(), check=True, timeout=120)

    def serve(self, command: list[str], **more: Any) -> str:
        log = self.directory / f"{uuid.uuid4().hex[:6]}.log"
        return self.stack.enter_context(served(command, self._filled(**more), log))

    def _filled(self, poolmgr: dict[str, Any] | None = None, **more: str) -> dict[str, str]:
        given = {"AGENT": True, **self.poolmgr, **(poolmgr or {})}
        return {**self.environment, "TEST_POOLMGR": json.dumps(given), **more}

    # -- the three ways to be away -------------------------------------------------------------------------------------

    @contextmanager
    def stopped(self) -> Iterator[None]:
        self.postgres.stop("immediate")
        try:
            yield
        finally:
            self.postgres.restart()

    @contextmanager
    def full(self) -> Iterator[None]:
        """No slot is left, for superusers neither; whoever had one has lost it."""
        taken: list[psycopg.Connection[Any]] = []
        url = self.postgres.superuser_url("site")
        with psycopg.connect(url, autocommit=True) as chief:

            def no_other_is_left() -> bool:
                chief.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'client backend'"
                    " AND pid <> pg_backend_pid() AND application_name <> 'filler'"
                )
                try:
                    while True:
                        taken.append(psycopg.connect(url, application_name="filler"))
                except psycopg.OperationalError:
                    pass
                row = chief.execute(
                    "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'"
                    " AND pid <> pg_backend_pid() AND application_name <> 'filler'"
                ).fetchone()
                return row == (0,)

            try:
                until(no_other_is_left, "the server to be full")
                yield
            finally:
                for connection in taken:
                    connection.close()

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Every process of the server stands still: it takes connections, and says nothing."""
        chief = psutil.Process(self.postgres.pid)
        family = [chief, *chief.children(recursive=True)]
        for process in family:
            process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            for process in family:
                process.send_signal(signal.SIGCONT)


class Visitor(Browser):
    """A browser whose cookies may be copied, as a thief does."""

    def __init__(self, site: str, timeout: float = 20.0) -> None:
        super().__init__(site, timeout=timeout)
        [self.jar] = [handler.cookiejar for handler in self._opener.handlers if hasattr(handler, "cookiejar")]  # type: ignore[attr-defined]

    def log_in(self, name: str = "operator") -> Page:
        address = "/admin/login/?next=/pools/"
        fields = self.get(address).form() | {"username": name, "password": PASSWORD}
        page = self.post(address, fields)
        assert (page.status, page.url) == (200, f"{self.site}/pools/"), page.text[:500]
        return page

    @property
    def cookies(self) -> dict[str, http.cookiejar.Cookie]:
        return {cookie.name: cookie for cookie in self.jar}

    def copy(self, *names: str) -> Visitor:
        """A browser with the same cookies, or with those alone that have one of ``names``."""
        thief = Visitor(self.site)
        for cookie in self.jar:
            if not names or cookie.name in names:
                thief.jar.set_cookie(cookie)
        return thief
