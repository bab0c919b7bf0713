"""What a forked child inherits: connections of its parent's, which it must neither use nor close nor keep open."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable
from typing import Any

#: Kept for ever, since to collect a connection may run code that touches its socket or a lock that nobody will release.
_kept: list[Any] = []


def let_go(connections: Iterable[Any]) -> None:
    """Called in the child: nothing that it or the garbage collector does can reach the parent's sessions any more.

    The child's copies of the sockets are replaced by ``/dev/null``. They would also keep the sessions alive, should the
    parent be killed. A cursor that is open in the parent finds its checkout over.
    """
    nowhere = os.open(os.devnull, os.O_RDWR)
    try:
        for connection in connections:
            _kept.append(connection)
            if (entry := getattr(connection, "entry", None)) is not None:
                entry.owner = None
                entry.epoch += 1
            with contextlib.suppress(Exception):  # closed already
                os.dup2(nowhere, connection.pgconn.socket)
    finally:
        os.close(nowhere)
