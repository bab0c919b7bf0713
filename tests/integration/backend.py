"""A Django connection on a small pool of a chosen mode, and others that compete for it."""

import threading
from collections.abc import Callable
from typing import Any

from django.db import connection

from poolmgr.pools import registry
from poolmgr.pools.desired import Desired
from poolmgr.pools.managed import ManagedPool
from poolmgr.pools.spec import make_spec

MODES = ["session", "transaction"]


def follow(**values: Any) -> ManagedPool:
    """Put settings in force in this process's default pool, as an agent would."""
    registry.set_desired({"default": Desired(make_spec(values), "profile 1", 1)})
    pool = connection.managed_pool  # type: ignore[attr-defined]
    assert pool is not None
    return pool


def is_held() -> bool:
    """Whether this thread's Django connection holds a pooled one."""
    return connection.connection is not None


def run_in_thread(work: Callable[[], Any]) -> Any:
    """What `work` returned in a thread of its own, whose connection is closed afterwards; raises what it raised."""
    result: list[Any] = []
    error: list[BaseException] = []

    def run() -> None:
        try:
            result.append(work())
        except BaseException as ex:
            error.append(ex)
        finally:
            connection.close()

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if error:
        raise error[0]
    return result[0]


def query(statement: str = "SELECT 1", *parameters: Any) -> Any:
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters or None)
        return cursor.fetchall() if cursor.description else None


def backend_pid() -> int:
    return int(query("SELECT pg_backend_pid()")[0][0])
