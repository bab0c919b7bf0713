"""What a forked child inherits: connections of its parent's, which it must neither use nor close nor keep open."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from typing import Any

from poolmgr.pools.entry import Entry

#: Kept for ever, since to collect a connection may run code that touches its socket or a lock that nobody will release.
_kept: list[Any] = []


def let_go(connection: Any, fileno: Callable[[], int], entry: Entry | None) -> None:
    """Called in the child: nothing that it or the garbage collector does can reach the parent's session any more.

    The child's copy of the socket is replaced by ``/dev/null``. It would also keep the session alive, should the parent be
    killed. Who borrowed the connection, and is in the child too, finds their checkout over.
    """
    _kept.append((connection, entry))
    if entry is not None:
        entry.owner = None
        entry.epoch += 1
    with contextlib.suppress(Exception):  # closed already
        if (socket := fileno()) >= 0:
            nowhere = os.open(os.devnull, os.O_RDWR)
            try:
                os.dup2(nowhere, socket)
            finally:
                os.close(nowhere)
