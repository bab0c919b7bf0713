"""What can be told of a driver's connection without knowing the driver."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from poolmgr.pools.sql.processes import process_of


def fileno_of(conn: Any) -> int:
    """The descriptor of a driver's connection; below 0 where it is closed, or the driver doesn't tell."""
    try:
        # asyncpg has a transport.
        found = conn.fileno() if hasattr(conn, "fileno") else conn._transport.get_extra_info("socket").fileno()
    except Exception:  # each driver has an error of its own
        return -1
    return found if isinstance(found, int) else -1


def server_id_of(conn: Any) -> int:
    """What the server calls its end: PostgreSQL's process, MySQL's thread; 0 where the driver doesn't tell."""
    with suppress(Exception):
        return process_of(int(conn.info.backend_pid))
    with suppress(Exception):
        return process_of(int(conn.get_server_pid()))  # asyncpg's
    with suppress(Exception):
        return int(conn.thread_id())
    return 0
