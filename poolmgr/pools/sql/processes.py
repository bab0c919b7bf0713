"""Numbers of server processes, as drivers tell them."""

from __future__ import annotations

#: No system numbers its processes higher. A pooler such as PgBouncer tells 32 bits of its own making, also negative ones.
_MOST = 1 << 22


def of_another(told: int) -> str:
    """A query of one row where another process of the server answers than the one that a connection was told of at its login.

    Then a pooler is in between.
    """
    return f"SELECT 1 WHERE pg_catalog.pg_backend_pid() > 0 AND pg_catalog.pg_backend_pid() <> {told}"


def process_of(told: int) -> int:
    """The process at the server that a driver was told of at its connect; 0 where that can be none."""
    return told if 0 < told <= _MOST else 0
