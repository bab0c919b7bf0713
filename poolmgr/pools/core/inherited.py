"""What a forked child inherits: connections of its parent's, which it must neither use nor close nor keep open."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable

from poolmgr.pools.core.driver import Driver
from poolmgr.pools.core.slot import Slot

#: Kept for ever, since to collect a connection may run code that touches its socket or a lock that nobody will release.
_kept: list[Slot] = []


def let_go(driver: Driver, slots: Iterable[Slot]) -> None:
    """Called in the child: nothing that it or the garbage collector does can reach the parent's sessions any more.

    The child's copies of the sockets are replaced by ``/dev/null``. They would also keep the sessions alive, should the
    parent be killed. A borrower that is in the child too finds its checkout over.
    """
    nowhere = os.open(os.devnull, os.O_RDWR)
    try:
        for slot in slots:
            _kept.append(slot)
            slot.owner = None
            slot.epoch += 1
            with contextlib.suppress(Exception):  # closed already
                if (fileno := driver.fileno(slot.conn)) >= 0:
                    os.dup2(nowhere, fileno)
    finally:
        os.close(nowhere)
