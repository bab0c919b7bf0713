"""How a physical connection that a task takes first meets Django: as one that a thread takes, in a thread of the pool's.

What hears of new connections asks them as threads do, which a task's can't be.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from typing import Any

from django.db.backends.signals import connection_created

from poolmgr.targets.postgresql.configuring import prepare
from poolmgr.targets.postgresql.connection import PooledConnection
from poolmgr.targets.postgresql.managed import ManagedPool
from poolmgr.targets.postgresql.work import in_worker


def is_to_be_greeted(lent: PooledConnection) -> bool:
    """Whether somebody listens who hasn't heard of this connection."""
    return bool(connection_created.receivers) and lent.entry.greeted != connection_created.receivers


async def greet(managed: ManagedPool, lent: PooledConnection, make: Callable[[], Any]) -> None:
    """Have the wrapper that ``make`` makes in its thread meet a connection that is checked out. Raises what a hook does.

    It is given back where that fails. Whoever is cancelled leaves it to the thread, which nobody can stop: until that is done
    the connection is no one else's.
    """
    epoch = lent.entry.epoch
    met: Future[None] = Future()
    in_worker(managed.pool, partial(_meet, managed, lent, make, met))
    try:
        await asyncio.shield(asyncio.wrap_future(met))
    except BaseException:
        met.add_done_callback(lambda done: managed.put_back(lent, epoch, waits=False))
        raise


def _meet(managed: ManagedPool, lent: PooledConnection, make: Callable[[], Any], met: Future[None]) -> None:
    try:
        prepare(managed, lent, lambda conn: make().meet(conn))
    except BaseException as ex:
        met.set_exception(ex)
    else:
        met.set_result(None)
