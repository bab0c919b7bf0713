"""A connection record of SQLAlchemy's, as the core sees it: it holds the driver's connection, and may get another."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from time import monotonic
from typing import Any

from poolmgr.exceptions import CheckoutError
from poolmgr.metrics.phrases import phrase
from poolmgr.pools.checkouts import LeftAlone
from poolmgr.pools.core.driver import NoAnswer, Refused
from poolmgr.pools.core.slot import Slot
from poolmgr.pools.core.ticker import ticker
from poolmgr.pools.diagnosis import Diagnosis
from poolmgr.pools.sockets import watch
from poolmgr.pools.sql.states import state_of
from poolmgr.pools.stopping import Stop
from poolmgr.targets.sqlalchemy.diagnosis import diagnose, is_of_the_server
from poolmgr.targets.sqlalchemy.errors import ERRORS
from poolmgr.targets.sqlalchemy.kind import SQLALCHEMY
from poolmgr.targets.sqlalchemy.sockets import fileno_of, server_id_of
from poolmgr.targets.sqlalchemy.stopping import has_ended, sever, stop_of, stops

_NO_WAY = phrase(
    "Its driver can't cancel a statement from another thread; psycopg and asyncpg can. End the session instead."
)


class _Connecting(threading.local):
    """How long the connect may take that the present thread is at for a pool, in seconds; 0 when it is at none."""

    timeout = 0.0


connecting = _Connecting()


class _Cut:
    """Breaks the question on ``conn`` off at its deadline, unless it is over."""

    def __init__(self, conn: Any, deadline: float) -> None:
        self._conn, self._over = conn, fileno_of(conn.driver_connection) < 0
        if not self._over:
            ticker().at(deadline, self.cut)

    def cut(self) -> None:
        if not self._over:
            sever(self._conn, at_once=True)

    def over(self) -> None:
        self._over = True


class RecordDriver:
    """``make`` gives a record that is connected; ``dialect`` tells the engine's dialect."""

    errors: Mapping[type[CheckoutError], type[CheckoutError]] = ERRORS

    def __init__(self, make: Callable[[], Any], dialect: Callable[[], Any]) -> None:
        self._make = make
        self._dialect = dialect

    def connect(self, timeout: float) -> Any:
        """In one of the pool's threads: a borrower's deadline holds whatever the driver's connect does."""
        connecting.timeout = timeout
        try:
            return self._make()
        finally:
            connecting.timeout = 0.0

    def bind(self, conn: Any, slot: Slot) -> None:
        conn.slot = slot
        self.follow(conn, slot)

    def follow(self, conn: Any, slot: Slot) -> None:
        """Have the slot know the driver's connection that its record has by now."""
        driver_s = conn.driver_connection
        slot.behind_pooler, slot.pid = conn.behind_pooler, self.server_id(conn)
        slot.has_news = watch(fileno_of(driver_s))

    def close(self, conn: Any, deadline: float) -> bool:
        conn.close()
        return has_ended(conn, deadline)

    def sever(self, conn: Any) -> None:
        """What runs is stopped first: the server may wait there for what ends no sooner."""
        sever(conn, at_once=False)

    def stop(self, conn: Any) -> Stop | None:
        driver_s = conn.driver_connection
        if driver_s is not None and not stops(driver_s):
            raise LeftAlone(_NO_WAY)
        return stop_of(driver_s, used=True)

    def fileno(self, conn: Any) -> int:
        return fileno_of(conn.driver_connection)

    def server_id(self, conn: Any) -> int:
        return 0 if conn.behind_pooler else server_id_of(conn.driver_connection)

    def gone(self, conn: Any) -> bool:
        """An idle connection is silent: news means that the server said good-bye, or that it broke."""
        return True

    def ask(self, conn: Any, query: str, deadline: float) -> Any:
        """The dialect's ping, or another query in a transaction that is rolled back; what that found first."""
        cut = _Cut(conn, deadline)
        try:
            return ask(self._dialect(), conn.dbapi_connection, query)
        except Exception as ex:
            if monotonic() >= deadline:
                raise NoAnswer(f"no answer to {query} before the deadline") from ex
            raise
        finally:
            cut.over()

    def standing(self, conn: Any) -> str:
        return ""

    def doing(self, conn: Any) -> str:
        """psycopg and psycopg2 tell, in libpq's words."""
        with suppress(Exception):  # each has errors of its own, such as of one that is closed
            return state_of(conn.driver_connection.info.transaction_status)
        return ""

    def is_of_the_server(self, error: BaseException) -> bool:
        return is_of_the_server(error)

    def diagnose(self, error: BaseException) -> Diagnosis:
        return diagnose(error)


def ask(dialect: Any, connection: Any, query: str) -> Any:
    """The dialect's ping, or another query in a transaction that is rolled back, of which this is the first value.

    Raises ``Refused``, and the driver's errors.
    """
    found: Any = ()
    if query == SQLALCHEMY.defaults.validation_query:
        dialect.do_ping(connection)
    else:
        cursor = connection.cursor()
        try:
            if dialect.name == "postgresql":
                cursor.execute("SET TRANSACTION READ ONLY")
            cursor.execute(query)
            found = cursor.fetchall()
        except dialect.loaded_dbapi.Error as ex:
            if dialect.is_disconnect(ex, connection, cursor):
                raise
            dialect.do_rollback(connection)
            raise Refused from ex
        finally:
            cursor.close()
    dialect.do_rollback(connection)
    return found[0][0] if found else None
