"""SQLAlchemy rolls back at each return, whether or not there is anything to roll back."""

from __future__ import annotations

from typing import Any

_IDLE = 0  # libpq's


def spare_rollbacks(dialect: Any) -> None:
    """Have ``dialect`` roll back only where psycopg would ask the server, or refuse; to find out else takes it longer.

    What SQLAlchemy rolls back on is its own stand-in for the connection, which looks for each attribute of it in vain first.
    """
    if dialect.driver != "psycopg":
        return
    roll_back = dialect.do_rollback
    driver_s = dialect.get_driver_connection if dialect.is_async else None

    def do_rollback(connection: Any) -> None:
        conn = getattr(connection, "dbapi_connection", connection)
        try:
            if driver_s is not None:
                conn = driver_s(conn)
            nothing_to_do = conn.pgconn.transaction_status == _IDLE and not (
                conn._num_transactions or conn._tpc or conn._pipeline
            )
        except AttributeError:  # a connection of a class of the site's own, or none any more
            nothing_to_do = False
        if not nothing_to_do:
            roll_back(connection)

    dialect.do_rollback = do_rollback
