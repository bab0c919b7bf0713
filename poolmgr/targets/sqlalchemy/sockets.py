"""What can be told of a driver's connection without knowing the driver."""

from __future__ import annotations

import os
import socket
from contextlib import suppress
from typing import Any

from poolmgr.pools.sockets import hears_the_end


def fileno_of(conn: Any) -> int:
    """The descriptor of a driver's connection; below 0 where it is closed, or the driver doesn't tell."""
    try:
        found = conn.fileno()
    except Exception:  # each driver has an error of its own
        return -1
    return found if isinstance(found, int) else -1


def server_id_of(conn: Any) -> int:
    """What the server calls its end: PostgreSQL's process, MySQL's thread; 0 where the driver doesn't tell."""
    with suppress(Exception):
        return int(conn.info.backend_pid)
    with suppress(Exception):
        return int(conn.thread_id())
    return 0


class Ear:
    """A copy of the socket of a connection that its driver is about to close, to hear when the server has closed its end.

    Raises ``OSError`` where there is no socket any more, as in a forked child, or no descriptor is left.
    """

    def __init__(self, fileno: int) -> None:
        copy = os.dup(fileno)
        try:
            self._sock = socket.socket(fileno=copy)
        except OSError:
            os.close(copy)
            raise

    def hears_the_end(self, deadline: float) -> bool:
        """Called once, when the driver has closed the connection; ``deadline`` is on the monotonic clock."""
        # A driver that says no good-bye leaves it to the last descriptor, which is this one.
        with suppress(OSError):
            self._sock.shutdown(socket.SHUT_WR)
        return hears_the_end(self._sock, deadline)
