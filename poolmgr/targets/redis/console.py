"""The console's way to a Redis: it waits for nobody who has a connection, and for a server that says nothing once at most."""

from __future__ import annotations

from time import monotonic
from typing import Any

from poolmgr.pools.core.pool import CorePool
from poolmgr.pools.lane import present_work
from poolmgr.secrets import replica
from poolmgr.targets.redis.library import redis

#: Seconds for which a pool is asked that knows of its server that it is away: it refuses at once.
_NO_TIME = 0.001
#: Seconds above which a failure was a wait, and for which a piece of work remembers one.
_WAIT, _KEPT = 0.1, 10.0


def connection_beside(pool: Any, core: CorePool) -> Any:
    """One of its own, or the error at once of a pool that knows that there is none to be had."""
    with core.lock:
        away = not core.paused and core.is_away(monotonic())
    return core.checkout(_NO_TIME).conn if away else direct(pool, core.spec.connection_timeout)


def direct(pool: Any, timeout: float) -> Any:
    """A connection that is no pool's. Raises redis-py's errors, at once where this work has waited for one before."""
    work = present_work()
    failed, until = (None, 0.0) if work is None else work.memory.get(pool, (None, 0.0))
    if failed is not None and monotonic() < until:
        raise replica(failed)
    connection = pool.make_connection()
    connection.direct_of = pool
    began = monotonic()
    try:
        connection.connect_within(timeout)
    except redis.RedisError as ex:
        if work is not None and monotonic() - began > _WAIT:
            work.memory[pool] = replica(ex), monotonic() + _KEPT
        raise
    return connection
