"""One pool of each kind, as the tests that all kinds pass see it."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import psutil
import psycopg
import psycopg_pool
import redis
import sqlalchemy
from psycopg import sql

from poolmgr.pools.desired import Desired
from poolmgr.pools.kinds import Kind
from poolmgr.secrets import hide
from poolmgr.targets.postgresql.kind import POSTGRESQL
from poolmgr.targets.redis.kind import REDIS
from poolmgr.targets.redis.pool import ManagedConnectionPool
from poolmgr.targets.sqlalchemy.engines import create_engine
from poolmgr.targets.sqlalchemy.kind import SQLALCHEMY
from poolmgr.targets.sqlalchemy.pool import ManagedQueuePool
from tests import pools
from tests.proxy import Proxy
from tests.waiting import until

#: Of the run's Redis, the database whose clients are the tests' own.
DATABASE = 7


def in_thread(work: Callable[[], object]) -> None:
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()


class Subject:
    """`errors` has the library's own class for each of ours; `pool` is the port."""

    kind: Kind
    errors: dict[str, type[Exception]]
    breaks: tuple[type[Exception], ...]  # what who uses a connection may get that breaks
    pool: Any
    #: How many of its connections count as reclaimed when a borrower drops one: none where the library returns it.
    reclaims_what_is_dropped = 1
    #: Whether it knows its server's ends by number, and connects before anybody asks.
    knows_ends = connects_ahead = True
    #: Whether a validation query may be the site's own.
    takes_queries = True

    def __init__(self, url: str) -> None:
        self.url = url
        self.proxy = Proxy(urlsplit(url).port or 0)
        self.opened: list[Any] = []

    @property
    def through_proxy(self) -> str:
        return self.url.replace(f":{urlsplit(self.url).port}", f":{self.proxy.port}")

    def open(self, url: str = "", **settings: Any) -> "Subject":
        """The pool, with nothing in it."""
        self._open(url or self.url, {"min_size": 0, "connection_timeout": 5.0, **settings})
        return self

    def change(self, **settings: Any) -> Any:
        spec = self.kind.make_spec({**self.pool.spec.to_dict(), **settings})
        return self.pool.apply(Desired(spec, "profile 1", self.pool.desired.revision + 1))

    def members(self) -> list[Any]:
        """The pools that have the connections: more than one may be a target's."""
        return [self.pool]

    def close(self) -> None:
        for each in self.opened:
            each.close()
        self.proxy.close()

    @contextmanager
    def borrowed(self) -> Iterator[Any]:
        conn = self.borrow()
        try:
            yield conn
        finally:
            self.give_back(conn)

    def hold(self, number: int) -> list[Any]:
        return [self.borrow() for _ in range(number)]

    def give_all_back(self, held: list[Any]) -> None:
        for conn in held:
            self.give_back(conn)

    def _open(self, url: str, settings: dict[str, Any]) -> None: ...
    def borrow(self) -> Any: ...
    def give_back(self, conn: Any) -> None: ...
    def use(self, conn: Any) -> int:
        """Ask the server something; the id of its end of the connection."""

    def break_off(self, conn: Any) -> None:
        """End a connection that is borrowed, from this side."""

    def soil(self, conn: Any) -> None:
        """Leave on a connection what its next borrower must not find."""

    def ends(self) -> set[int]:
        """The server's ends of the pool's connections, as the server has them."""

    def told(self, ends: set[int]) -> list[Any]:
        """What the server says of these."""

    @contextmanager
    def full(self) -> Iterator[str]:
        """Where to connect to a server that has no room for the pool."""
        yield ""

    def asked(self) -> Any:
        """What is another thing whenever the server was asked whether a connection lives."""

    def kill(self) -> None:
        """End all of them at the server."""

    def kill_one(self) -> None:
        """End any of them."""


class Postgres(Subject):
    kind = POSTGRESQL
    errors = {
        "PoolExhausted": psycopg_pool.PoolTimeout,
        "TooManyWaiting": psycopg_pool.TooManyRequests,
        "PoolPaused": psycopg_pool.PoolTimeout,
        "PoolClosed": psycopg_pool.PoolClosed,
        "ServerDown": psycopg_pool.PoolTimeout,
        "ServerFull": psycopg_pool.PoolTimeout,
        "AuthenticationFailed": psycopg_pool.PoolTimeout,
    }
    breaks = (psycopg.OperationalError,)

    def _open(self, url: str, settings: dict[str, Any]) -> None:
        self.pool = pools.managed_pool(url, **settings)
        hide(self.pool.given)  # as the settings' own are
        self.opened.append(self.pool)

    def borrow(self) -> Any:
        return self.pool.checkout()

    def give_back(self, conn: Any) -> None:
        self.pool.give_back(conn)

    def use(self, conn: Any) -> int:
        return int(conn.execute("SELECT pg_backend_pid()").fetchone()[0])

    def break_off(self, conn: Any) -> None:
        conn.close()

    def soil(self, conn: Any) -> None:
        conn.pgconn.send_query(b"SELECT pg_sleep(60)")

    def ends(self) -> set[int]:
        return pools.backends(self.url)

    def told(self, ends: set[int]) -> list[Any]:
        with psycopg.connect(self.url, autocommit=True, application_name=pools.ONLOOKER) as connection:
            return connection.execute(
                "SELECT pid, state, wait_event, now() - backend_start, now() - state_change, query FROM pg_stat_activity"
                " WHERE pid = ANY(%s)",
                [[*ends]],
            ).fetchall()

    @contextmanager
    def full(self) -> Iterator[str]:
        with psycopg.connect(self.url, autocommit=True, application_name=pools.ONLOOKER) as connection:
            database = sql.Identifier(urlsplit(self.url).path[1:])
            connection.execute(sql.SQL("ALTER DATABASE {} CONNECTION LIMIT 1").format(database))
            try:
                yield self.url
            finally:
                connection.execute(sql.SQL("ALTER DATABASE {} CONNECTION LIMIT -1").format(database))

    def asked(self) -> Any:
        with psycopg.connect(self.url, autocommit=True, application_name=pools.ONLOOKER) as connection:
            return connection.execute(
                "SELECT max(query_start) FROM pg_stat_activity WHERE datname = current_database()"
                " AND application_name <> 'onlooker'"
            ).fetchone()

    def kill(self) -> None:
        before = self.ends()
        pools.kill_backends(self.url)
        # A session leaves the server's view before its process closes the socket; what asyncpg has read of its end until then
        # it tells nobody.
        until(lambda: not any(map(psutil.pid_exists, before)), "the sessions' processes to end")

    def kill_one(self) -> None:
        with psycopg.connect(self.url, autocommit=True, application_name=pools.ONLOOKER) as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database()"
                " AND application_name <> 'onlooker' AND backend_type = 'client backend' LIMIT 1"
            )


class Redis(Subject):
    kind = REDIS
    takes_queries = False
    errors = {
        "PoolExhausted": redis.exceptions.MaxConnectionsError,
        "TooManyWaiting": redis.exceptions.MaxConnectionsError,
        "PoolPaused": redis.ConnectionError,
        "PoolClosed": redis.ConnectionError,
        "ServerDown": redis.ConnectionError,
        "ServerFull": redis.ConnectionError,
        "AuthenticationFailed": redis.AuthenticationError,
    }
    breaks = (redis.ConnectionError,)

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.admin = redis.Redis.from_url(url.rpartition("/")[0] + "/0")

    def _open(self, url: str, settings: dict[str, Any]) -> None:
        self.redis_pool = ManagedConnectionPool.from_url(url, pool=settings)
        self.pool = self.redis_pool.managed
        self.opened += [self.redis_pool]

    def close(self) -> None:
        super().close()
        self.admin.close()

    def borrow(self) -> Any:
        return self.redis_pool.get_connection()

    def give_back(self, conn: Any) -> None:
        self.redis_pool.release(conn)

    def use(self, conn: Any) -> int:
        conn.send_command("CLIENT", "ID")
        return int(conn.read_response())

    def break_off(self, conn: Any) -> None:
        conn.disconnect()

    def soil(self, conn: Any) -> None:
        conn.send_command("MULTI")
        conn.read_response()

    def ends(self) -> set[int]:
        return {int(each["id"]) for each in self._clients()}

    def told(self, ends: set[int]) -> list[Any]:
        return [each for each in self._clients() if int(each["id"]) in ends]

    @contextmanager
    def full(self) -> Iterator[str]:
        before: Any = self.admin.config_get("maxclients")
        self.admin.config_set("maxclients", 1)
        try:
            yield self.url
        finally:
            self.admin.config_set("maxclients", before["maxclients"])

    def asked(self) -> Any:
        stats: Any = self.admin.info("commandstats")
        return int(stats.get("cmdstat_ping", {}).get("calls", 0))

    def kill(self) -> None:
        for each in self._clients():
            self.admin.client_kill_filter(_id=each["id"])

    def kill_one(self) -> None:
        for each in self._clients()[:1]:
            self.admin.client_kill_filter(_id=each["id"])

    def _clients(self) -> list[dict[str, str]]:
        clients: Any = self.admin.client_list()
        return [each for each in clients if each["db"] == str(DATABASE)]


class Alchemy(Postgres):
    kind = SQLALCHEMY
    errors = {
        "PoolExhausted": sqlalchemy.exc.TimeoutError,
        "TooManyWaiting": sqlalchemy.exc.TimeoutError,
        "PoolPaused": sqlalchemy.exc.TimeoutError,
        "PoolClosed": sqlalchemy.exc.InvalidRequestError,
        "ServerDown": sqlalchemy.exc.OperationalError,
        "ServerFull": sqlalchemy.exc.OperationalError,
        "AuthenticationFailed": sqlalchemy.exc.OperationalError,
    }
    breaks = (sqlalchemy.exc.DBAPIError, psycopg.OperationalError, sqlalchemy.exc.InvalidRequestError)
    reclaims_what_is_dropped = 0
    driver = "psycopg"
    engine: Any

    def _dialect_s(self, url: str) -> str:
        return url.replace("postgresql://", f"postgresql+{self.driver}://")

    def _open(self, url: str, settings: dict[str, Any]) -> None:
        # Without a target, which only one pool of the process may have.
        self.engine = create_engine("", self._dialect_s(url), pool=settings)
        assert isinstance(self.engine.pool, ManagedQueuePool)
        self.pool = self.engine.pool.managed
        self.opened.append(self.pool)

    def borrow(self) -> Any:
        return self.engine.raw_connection()

    def give_back(self, conn: Any) -> None:
        conn.close()

    def use(self, conn: Any) -> int:
        cursor = conn.cursor()
        cursor.execute("SELECT pg_backend_pid()")
        return int(cursor.fetchone()[0])

    def break_off(self, conn: Any) -> None:
        conn.dbapi_connection.close()

    def soil(self, conn: Any) -> None:
        conn.dbapi_connection.pgconn.send_query(b"SELECT pg_sleep(60)")
