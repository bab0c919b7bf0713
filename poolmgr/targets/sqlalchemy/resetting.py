"""SQLAlchemy rolls back at each return, whether or not there is anything to roll back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

_IDLE = 0  # libpq's


def spare_rollbacks(dialect: Any) -> None:
    """Have ``dialect`` roll back only where its driver would ask the server, or refuse; to find out else takes it longer.

    What SQLAlchemy rolls back on is its own stand-in for the connection, which looks for each attribute of it in vain first.
    """
    is_clean = _IS_CLEAN.get((dialect.driver, dialect.is_async))
    if is_clean is None:
        return
    roll_back = dialect.do_rollback

    def do_rollback(connection: Any) -> None:
        try:
            nothing_to_do = is_clean(getattr(connection, "dbapi_connection", connection))
        except AttributeError:  # a connection of a class of the site's own, or none any more
            nothing_to_do = False
        if not nothing_to_do:
            roll_back(connection)

    dialect.do_rollback = do_rollback


def _psycopg_is_clean(conn: Any) -> bool:
    return conn.pgconn.transaction_status == _IDLE and not (conn._num_transactions or conn._tpc or conn._pipeline)


#: By driver, and whether it is asyncio's, which SQLAlchemy adapts; asyncpg's adapter knows what it has begun.
_IS_CLEAN: dict[tuple[str, bool], Callable[[Any], bool]] = {
    ("psycopg", False): _psycopg_is_clean,
    ("psycopg", True): lambda adapter: _psycopg_is_clean(adapter._connection),
    ("asyncpg", True): lambda adapter: adapter._transaction is None,
}
