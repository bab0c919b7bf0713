"""A Django connection on a pool of ours, to a server or to a PgBouncer before it, and those who come in its way there."""

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import psycopg
from django.db import connections

from poolmgr.targets.postgresql.managed import ManagedPool
from tests.waiting import until

ALIAS = "behind"
#: An advisory lock that keeps whoever asks for it waiting, with the server connection that they have.
_KEPT = 4711
_WAITS = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = %s AND NOT granted"


def _hear_out(connection: psycopg.Connection[Any]) -> None:
    while connection.pgconn.get_result() is not None:
        pass


@dataclass(frozen=True)
class Behind:
    """`ours` and `theirs` are pool modes, `theirs` is "alone" where nothing is between; `direct` leads past a PgBouncer."""

    ours: str
    theirs: str
    url: str
    direct: str
    bouncer: Any = None

    @property
    def connection(self) -> Any:
        return connections[ALIAS]

    @property
    def pool(self) -> ManagedPool:
        pool = self.connection.managed_pool
        assert isinstance(pool, ManagedPool)
        return pool

    def query(self, statement: str, *parameters: Any) -> Any:
        with self.connection.cursor() as cursor:
            cursor.execute(statement, parameters or None)
            return cursor.fetchall() if cursor.description else None

    def value(self, statement: str, *parameters: Any) -> Any:
        return self.query(statement, *parameters)[0][0]

    def at_server(self, statement: str, *parameters: Any) -> Any:
        """What the server says to somebody who comes past PgBouncer."""
        with psycopg.connect(self.direct, autocommit=True) as connection:
            cursor = connection.execute(statement, parameters or None)  # type: ignore[call-overload]
            return cursor.fetchall() if cursor.description else None

    def clear(self) -> None:
        """Let nothing be there that a borrower of another test has left on a server connection."""
        self.at_server(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = current_database()"
            " AND pid <> pg_backend_pid() AND backend_type = 'client backend'"
        )

    def next_borrower(self, work: Callable[[], Any]) -> Any:
        """What `work` comes to in another thread, after this one has given its connection back."""
        self.connection.close()
        until(lambda: not self.pool.snapshot().used, "the connection to be back")
        found: list[Any] = []

        def run() -> None:
            try:
                found.append(work())
            except Exception as ex:
                found.append(ex)
            finally:
                self.connection.close()

        thread = threading.Thread(target=run)
        thread.start()
        thread.join()
        if isinstance(found[0], Exception):
            raise found[0]
        return found[0]

    @contextmanager
    def neighbours(self, number: int = 1) -> Iterator[None]:
        """For the block, others have the server connections that came free last, as far as there are free ones."""
        with ExitStack() as stack:
            keeper = stack.enter_context(psycopg.connect(self.direct, autocommit=True))
            keeper.execute("SELECT pg_advisory_lock(%s)", [_KEPT])
            for count in range(1, number + 1):
                other = stack.enter_context(psycopg.connect(self.url, autocommit=True))
                stack.callback(_hear_out, other)
                other.pgconn.send_query(f"SELECT pg_advisory_xact_lock({_KEPT})".encode())
                other.pgconn.flush()
                until(lambda: keeper.execute(_WAITS, [_KEPT]).fetchone() == (count,), "a neighbour's turn")  # noqa: B023
            stack.callback(keeper.execute, "SELECT pg_advisory_unlock(%s)", [_KEPT])
            yield
