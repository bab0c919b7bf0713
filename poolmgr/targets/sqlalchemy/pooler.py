"""Whether a connection that was just made leads to PostgreSQL itself, or to a pooler before it, such as a PgBouncer.

The server is asked in one round trip, in no transaction, and with nothing prepared: behind a pooler the next question may
come to another session.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from time import monotonic
from typing import Any

from sqlalchemy.util import await_only

from poolmgr.pools.core.driver import NoAnswer
from poolmgr.pools.core.ticker import ticker
from poolmgr.pools.sockets import hang_up
from poolmgr.pools.sql.processes import of_another
from poolmgr.targets.sqlalchemy.sockets import fileno_of


def is_behind_pooler(dialect: Any, connection: Any, seconds: float) -> bool:
    """False where the driver is none of those that are known, and where the server knows no processes.

    Raises ``NoAnswer`` after so many seconds, and the driver's error where the connection broke; it is closed then.
    """
    ask = _ASK.get((getattr(dialect, "driver", ""), bool(getattr(dialect, "is_async", False))))
    if ask is None:
        return False
    driver_s = dialect.get_driver_connection(connection)
    ends = monotonic() + seconds
    try:
        return ask(driver_s, ends)
    except BaseException as ex:
        late = monotonic() >= ends
        if isinstance(ex, Exception) and not late and not _is_closed(driver_s):
            return False  # also of a connection of a class of the site's own
        _end(driver_s)
        if late:
            raise NoAnswer(f"no answer within {seconds:g} s") from ex
        raise


class _Cut:
    """Hangs up at the deadline of a question, unless it is over."""

    def __init__(self, conn: Any, deadline: float) -> None:
        self._conn = conn
        ticker().at(deadline, self.cut)

    def cut(self) -> None:
        if (conn := self._conn) is not None and (fileno := fileno_of(conn)) >= 0:
            hang_up(fileno)

    def over(self) -> None:
        self._conn = None


def _ask_psycopg(conn: Any, ends: float, **how: Any) -> bool:
    cut, autocommit = _Cut(conn, ends), conn.autocommit
    try:
        conn.autocommit = True
        with conn.cursor() as cursor:
            cursor.execute(of_another(conn.info.backend_pid), **how)
            found: bool = cursor.rowcount == 1
        conn.autocommit = autocommit
    finally:
        cut.over()
    return found


def _ask_psycopg_3(conn: Any, ends: float) -> bool:
    return _ask_psycopg(conn, ends, prepare=False)


async def _ask_psycopg_in_loop(conn: Any) -> bool:
    autocommit = conn.autocommit
    await conn.set_autocommit(True)
    async with conn.cursor() as cursor:
        await cursor.execute(of_another(conn.info.backend_pid), prepare=False)
        found: bool = cursor.rowcount == 1
    await conn.set_autocommit(autocommit)
    return found


async def _ask_asyncpg(conn: Any) -> bool:
    # Of what asyncpg doesn't prepare it tells how many rows there are, and no more.
    return str(await conn.execute(of_another(conn.get_server_pid()))) == "SELECT 1"


def _awaited(ask: Callable[[Any], Any]) -> Callable[[Any, float], bool]:
    def ask_in_greenlet(conn: Any, ends: float) -> bool:
        found: bool = await_only(asyncio.wait_for(ask(conn), max(0.0, ends - monotonic())))
        return found

    return ask_in_greenlet


def _is_closed(conn: Any) -> bool:
    return bool(conn.is_closed() if hasattr(conn, "is_closed") else getattr(conn, "closed", False))


def _end(conn: Any) -> None:
    """At once, whatever the server does, and in a task that is cancelled too."""
    with suppress(Exception):  # each driver has errors of its own
        if hasattr(conn, "terminate"):  # asyncpg's
            conn.terminate()
        elif hasattr(conn, "pgconn"):
            conn.pgconn.finish()
        else:
            conn.close()


#: By driver, and whether it is asyncio's: asks its own connection before a moment on the monotonic clock.
_ASK: dict[tuple[str, bool], Callable[[Any, float], bool]] = {
    ("psycopg", False): _ask_psycopg_3,
    ("psycopg2", False): _ask_psycopg,
    ("psycopg", True): _awaited(_ask_psycopg_in_loop),
    ("asyncpg", True): _awaited(_ask_asyncpg),
}
