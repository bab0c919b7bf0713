"""Making managed pools on a real server, without Django in between."""

import gc
import threading
from collections.abc import Callable
from typing import Any
from urllib.parse import unquote, urlsplit

import psycopg

from poolmgr.pools.desired import Desired
from poolmgr.pools.plan import Action
from poolmgr.pools.spec import make_spec
from poolmgr.targets.postgresql.managed import ManagedPool
from poolmgr.targets.postgresql.parameters import default_parameters
from tests.waiting import until

#: The application_name of sessions that look at the server and are none of a pool's.
ONLOOKER = "onlooker"


def parameters(url: str) -> dict[str, Any]:
    """A postgresql:// URL as psycopg's keyword arguments."""
    got = urlsplit(url)
    return {
        "host": got.hostname,
        "port": got.port,
        "user": got.username,
        "password": unquote(got.password or ""),
        "dbname": got.path[1:],
    }


def database(url: str, **options: Any) -> dict[str, Any]:
    """A postgresql:// URL as an entry of DATABASES on the pooled backend."""
    got = parameters(url)
    return {
        "ENGINE": "poolmgr.backends.postgresql",
        "NAME": got["dbname"],
        "USER": got["user"],
        "PASSWORD": got["password"],
        "HOST": got["host"],
        "PORT": got["port"],
        "OPTIONS": options,
    }


def address(url: str) -> dict[str, Any]:
    """Where a postgresql:// URL leads, for an entry of DATABASES."""
    return {name: value for name, value in database(url).items() if name not in ("ENGINE", "OPTIONS")}


def managed_pool(url: str, target: str = "test", configure: Any = None, **settings: Any) -> ManagedPool:
    """An open pool; close it."""
    spec = make_spec({"min_size": 0, **settings})
    given = parameters(url)
    # Read at every connect, so that a test may change it: a rotated password, another port.
    pool = ManagedPool(
        target,
        spec,
        lambda: default_parameters({**given, "autocommit": True}, spec.connection_timeout),
        configure,
        f"{given['host']}:{given['port']}/{given['dbname']}",
    )
    pool.given = given  # type: ignore[attr-defined]
    pool.open()
    return pool


#: How many advisory locks are held in this database; those of others are on the list too.
LOCKS = (
    "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'"
    " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
)


def backends(url: str, database: str | None = None) -> set[int]:
    """The server processes of client sessions in a database, but for those that look, as this does."""
    # By name: the process of the look before may not be quite gone.
    with psycopg.connect(url, autocommit=True, application_name=ONLOOKER) as connection:
        rows = connection.execute(
            "SELECT pid FROM pg_stat_activity WHERE datname = %s AND backend_type = 'client backend'"
            " AND application_name <> %s",
            [database or connection.info.dbname, ONLOOKER],
        )
        return {row[0] for row in rows}


def active(url: str) -> int:
    """How many sessions in a database run something, but for the look."""
    with psycopg.connect(url, autocommit=True, application_name=ONLOOKER) as connection:
        row = connection.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state = 'active'"
            " AND pid <> pg_backend_pid() AND backend_type = 'client backend'"
        ).fetchone()
        return row[0] if row else 0


def emptied(url: str) -> str:
    """The URL of a database, once no session of another test is left in it.

    What an interrupt or a cancellation has lost in the middle of a connect ends when the garbage is collected.
    """

    until(
        lambda: none_is_left(lambda: backends(url)),
        lambda: f"the end of the sessions that a test has left: {_sessions(url)}",
    )
    return url


def none_is_left(ends: Callable[[], set[int]]) -> bool:
    """Whether there are no ``ends``; where there are, the garbage is collected, which may be what keeps them."""
    if not ends():
        return True
    # Again each time: whoever refers to it may have ended only now.
    gc.collect()
    return False


def _sessions(url: str) -> list[Any]:
    with psycopg.connect(url, autocommit=True, application_name=ONLOOKER) as connection:
        return connection.execute(
            "SELECT pid, client_port, state, wait_event, query, now() - backend_start FROM pg_stat_activity"
            " WHERE datname = current_database() AND application_name <> %s",
            [ONLOOKER],
        ).fetchall()


def kill_backends(url: str) -> None:
    """End every other session in the database, as a restart or an impatient operator does."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database()"
            " AND pid <> pg_backend_pid() AND backend_type = 'client backend'"
        )


def change(pool: ManagedPool, **settings: Any) -> Action:
    spec = make_spec({**pool.spec.to_dict(), **settings})
    return pool.apply(Desired(spec, "profile 1", pool.desired.revision + 1)).action


def hold(pool: ManagedPool, number: int) -> list[Any]:
    return [pool.checkout() for _ in range(number)]


def give_back(pool: ManagedPool, held: list[Any]) -> None:
    for conn in held:
        pool.give_back(conn)


def wait_in_thread(pool: ManagedPool, results: list[Any], timeout: float = 10.0) -> threading.Thread:
    """A request that has begun to wait when this returns."""
    pending = pool.snapshot().pending

    def ask() -> None:
        try:
            results.append(pool.checkout(timeout))
        except Exception as ex:
            results.append(ex)

    thread = threading.Thread(target=ask)
    thread.start()
    until(lambda: pool.snapshot().pending > pending or results, "the request to wait")
    return thread
