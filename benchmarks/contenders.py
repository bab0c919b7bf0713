"""What is set side by side, each behind the same few calls: query, end of request, and tight loops for the clock."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from time import sleep
from typing import Any
from urllib.parse import unquote, urlsplit

import psycopg
import psycopg_pool
from django.db import connections, transaction
from sqlalchemy import pool as sqlalchemy_pool

from poolmgr.pools import registry
from tests.pools import managed_pool, parameters

NATIVE = "django.db.backends.postgresql"
OURS = "poolmgr.backends.postgresql"


class Contender:
    """``name`` is its key in the figures. Open it on a URL, with sizes, before use; ``bouncer`` wants PgBouncer's URL."""

    bouncer = False

    def __init__(self, name: str, label: str) -> None:
        self.name = name
        self.label = label
        self.application = name  # by which the server knows it

    def open(self, url: str, min_size: int, max_size: int) -> None:
        raise NotImplementedError

    def close(self) -> None:
        raise NotImplementedError

    def warm_up(self) -> None:
        """Let the pool's first connects be over before the clock starts."""
        self.query("SELECT 1")
        self.end()
        sleep(0.5)

    def query(self, statement: str | None) -> None:
        """One use of the database by this thread; without a statement, only the way there and back."""
        raise NotImplementedError

    def end(self) -> None:
        """The end of this thread's request."""

    def leave(self) -> None:
        """The end of this thread."""
        self.end()


class Django(Contender):
    """A Django backend: each time it is opened under an alias of its own."""

    opened = 0

    def __init__(self, name: str, label: str, engine: str, pool: Callable[[int, int], dict[str, Any]], **more: Any):
        super().__init__(name, label)
        self.engine, self.pool, self.more = engine, pool, more
        self.holds = False  # keeps its connection from request to request
        self.alias = ""

    def open(self, url: str, min_size: int, max_size: int, **options: Any) -> None:
        Django.opened += 1
        self.alias = f"{self.name}_{Django.opened}"
        made = {**address(url), "ENGINE": self.engine, "CONN_MAX_AGE": 0, **self.pool(min_size, max_size), **self.more}
        made["OPTIONS"] = {"application_name": self.name, **made.get("OPTIONS", {}), **options}
        connections.settings[self.alias] = connections.configure_settings({"default": {}, self.alias: made})[self.alias]

    def close(self) -> None:
        connection = self.connection
        connection.close()
        if self.engine == OURS:
            registry.close(self.alias)
        elif getattr(connection, "pool", None):
            connection.close_pool()
        del connections[self.alias], connections.settings[self.alias]

    @property
    def connection(self) -> Any:
        return connections[self.alias]

    def query(self, statement: str | None) -> None:
        with connections[self.alias].cursor() as cursor:
            if statement:
                cursor.execute(statement)
                cursor.fetchone()

    def end(self) -> None:
        if not self.holds:
            connections[self.alias].close()

    def leave(self) -> None:
        connections[self.alias].close()

    def atomic(self) -> AbstractContextManager[Any]:
        return transaction.atomic(using=self.alias)


class Held(Django):
    """A connection that each thread keeps, from request to request."""

    def __init__(self, name: str, label: str) -> None:
        super().__init__(name, label, NATIVE, lambda least, most: {}, CONN_MAX_AGE=None)
        self.holds = True


class Bounced(Held):
    """Each thread keeps its connection to PgBouncer, which lends it a server's for each transaction."""

    bouncer = True


class Bare(Contender):
    """A pool without Django, by its own ``with pool.connection()``."""

    def __init__(self, name: str, label: str, make: Callable[..., Any], connect: str = "connection") -> None:
        super().__init__(name, label)
        self._make, self._connect = make, connect

    def open(self, url: str, min_size: int, max_size: int) -> None:
        self.pool = self._make(url, min_size, max_size)
        self.take = getattr(self.pool, self._connect)

    def close(self) -> None:
        getattr(self.pool, "close", getattr(self.pool, "dispose", None))()

    def query(self, statement: str | None) -> None:
        with self.take() as connection:
            if statement:
                with connection.cursor() as cursor:
                    cursor.execute(statement)
                    cursor.fetchone()


class QueuePool(Bare):
    """SQLAlchemy's pool, whose connections have no ``with``."""

    def query(self, statement: str | None) -> None:
        connection = self.take()
        if statement:
            cursor = connection.cursor()
            cursor.execute(statement)
            cursor.fetchone()
            cursor.close()
        connection.close()


def address(url: str) -> dict[str, Any]:
    got = urlsplit(url)
    return {
        "HOST": got.hostname,
        "PORT": got.port,
        "USER": got.username,
        "PASSWORD": unquote(got.password or ""),
        "NAME": got.path[1:],
    }


def _native(least: int, most: int) -> dict[str, Any]:
    return {"OPTIONS": {"pool": {"min_size": least, "max_size": most, "timeout": 120}}}


def _queue_options(least: int, most: int) -> dict[str, Any]:
    return {"POOL_OPTIONS": {"POOL_SIZE": least, "MAX_OVERFLOW": most - least, "TIMEOUT": 120}}


def ours(mode: str) -> Callable[[int, int], dict[str, Any]]:
    def pool(least: int, most: int) -> dict[str, Any]:
        options = {"min_size": least, "max_size": most, "connection_timeout": 120, "pool_mode": mode}
        return {"OPTIONS": {"pool": options}}

    return pool


def _psycopg_pool(url: str, least: int, most: int) -> Any:
    given = {"autocommit": True, "application_name": "psycopg_pool"}
    made = psycopg_pool.ConnectionPool(url, min_size=least, max_size=most, timeout=120, kwargs=given, open=False)
    made.open(wait=True)
    return made


def _queue_pool(url: str, least: int, most: int) -> Any:
    def connect() -> Any:
        return psycopg.connect(**parameters(url), autocommit=True, application_name="sqlalchemy")

    return sqlalchemy_pool.QueuePool(connect, pool_size=least, max_overflow=most - least, timeout=120)


def _managed(url: str, least: int, most: int) -> Any:
    made = managed_pool(url, "managed", None, min_size=least, max_size=most, connection_timeout=120.0)
    made.given["application_name"] = "managed"
    return made


PERSISTENT = Held("persistent", "persistent connection (CONN_MAX_AGE=None)")
CONNECT = Django("connect", "connecting per request", NATIVE, lambda least, most: {})
NATIVE_POOL = Django("native", "Django's native pool", NATIVE, _native)
NATIVE_CHECKED = Django("native_checked", "native pool, CONN_HEALTH_CHECKS", NATIVE, _native, CONN_HEALTH_CHECKS=True)
REAL_POOL = Django("real_pool", "django-pg-real-pool", "django_pg_real_pool", _native)
QUEUE_BACKEND = Django("dj_pool", "django-db-connection-pool", "dj_db_conn_pool.backends.postgresql", _queue_options)
PSYCOPG_POOL = Bare("psycopg_pool", "psycopg_pool, bare", _psycopg_pool)
SQLALCHEMY = QueuePool("sqlalchemy", "SQLAlchemy's QueuePool, bare", _queue_pool, "connect")
BOUNCER = Bounced("pgbouncer", "PgBouncer, transaction mode")
SESSION = Django("session", "**poolmgr, session mode**", OURS, ours("session"))
TRANSACTION = Django("transaction", "**poolmgr, transaction mode**", OURS, ours("transaction"))
MANAGED = Bare("managed", "**poolmgr's ManagedPool, bare**", _managed)
