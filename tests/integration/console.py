"""What the tests of the admin and the dashboard share: people with different rights, and a fleet of real pools."""

from __future__ import annotations

import http.client
import time
import uuid
from typing import Any
from urllib.parse import urlencode, urlsplit

from django.conf import settings
from django.contrib.auth.models import Permission, User
from django.db import connections
from django.test import Client
from msgspec.structs import replace

from poolmgr.control.store import get_store
from poolmgr.identity import host, process_uid
from poolmgr.metrics.histogram import Distribution
from poolmgr.metrics.snapshot import PoolSnapshot, ProcessBeat
from poolmgr.targets.postgresql.managed import ManagedPool
from tests.agents import without_agent

PASSWORD = "a password for tests"


def own_fleet(settings: Any, redis: Any) -> None:
    """A fleet in which nobody is but whom the test lets report."""
    settings.POOLMGR = {"REDIS_URL": redis.url(), "NAMESPACE": f"t{uuid.uuid4().hex[:8]}", "AGENT": False}
    without_agent()


def person(name: str, *permissions: str, staff: bool = True, superuser: bool = False) -> User:
    user = User.objects.create_user(name, password=PASSWORD, is_staff=staff, is_superuser=superuser)
    user.user_permissions.set(Permission.objects.filter(content_type__app_label="poolmgr", codename__in=permissions))
    return user


def signed_in(user: User, **more: Any) -> Client:
    client = Client(**more)
    client.force_login(user)
    return client


def own_pool() -> ManagedPool:
    """The pool of this process, which the pages under test have to do without."""
    pool = connections["default"].managed_pool  # type: ignore[attr-defined]
    assert isinstance(pool, ManagedPool)
    return pool


def calm() -> PoolSnapshot:
    """This process's pool without what other tests of the last minute did to it."""
    return replace(
        own_pool().snapshot(),
        recent_timeouts=0,
        last_timeout_at=0.0,
        recent_refused=0,
        recent_wait_time=Distribution(),
        last_error="",
    )


def beat(*pools: PoolSnapshot, uid: str = "", role: str = "web", **more: Any) -> ProcessBeat:
    """Report real figures of this process's pool (or the given ones) to the real store, as an agent does."""
    now = time.time()
    values: dict[str, Any] = {"host": host(), "pid": 4711, "started": now - 60, "at": now, "name": "gunicorn", **more}
    made = ProcessBeat(uid=uid or process_uid(), role=role, pools=pools or (own_pool().snapshot(),), **values)
    get_store().beat(made)
    return made


def followed(pool: PoolSnapshot, profile: Any) -> PoolSnapshot:
    return replace(pool, profile=f"profile {profile.pk}", revision=profile.revision)


class Browserless:
    """Plain HTTP to a live server, in whose threads nothing of this thread's connections is of use."""

    def __init__(self, address: str, user: User) -> None:
        self._netloc = urlsplit(address).netloc
        client = signed_in(user)
        client.get("/admin/login/")
        self._session = client.cookies[settings.SESSION_COOKIE_NAME].value
        self._token = "t" * 32

    def get(self, path: str) -> tuple[int, str]:
        return self._ask("GET", path, None)

    def post(self, path: str, **data: str) -> tuple[int, str]:
        return self._ask("POST", path, urlencode({**data, "csrfmiddlewaretoken": self._token}))

    def _ask(self, method: str, path: str, body: str | None) -> tuple[int, str]:
        connection = http.client.HTTPConnection(self._netloc, timeout=15)
        cookies = f"{settings.SESSION_COOKIE_NAME}={self._session}; {settings.CSRF_COOKIE_NAME}={self._token}"
        headers = {"Cookie": cookies}
        if body is not None:
            headers["Content-Type"] = "application/x-www-form-urlencoded"
        try:
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()
