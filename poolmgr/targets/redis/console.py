"""The console's way to a Redis: it waits for nobody who has a connection, and for a server that says nothing once at most."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic
from typing import Any

from poolmgr.pools.core.pool import CorePool
from poolmgr.pools.lane import present_work
from poolmgr.secrets import replica
from poolmgr.targets.redis.library import redis

#: Seconds for which a pool is asked that knows of its server that it is away: it refuses at once.
NO_TIME = 0.001
#: Seconds above which a failure was a wait, and for which a piece of work remembers one.
_WAIT, _KEPT = 0.1, 10.0


def knows_that_it_is_away(core: CorePool) -> bool:
    """Whether a pool refuses at once; one that is paused doesn't know."""
    with core.lock:
        return not core.paused and core.is_away(monotonic())


def connection_beside(pool: Any, core: CorePool) -> Any:
    """One of its own, or the error at once of a pool that knows that there is none to be had."""
    if knows_that_it_is_away(core):
        return core.checkout(NO_TIME).conn
    return direct(pool, core.spec.connection_timeout)


def direct(pool: Any, timeout: float) -> Any:
    """A connection that is no pool's. Raises redis-py's errors, at once where this work has waited for one before."""
    with waited_for_once(pool):
        connection = pool.make_connection()
        connection.direct_of = pool
        connection.connect_within(timeout)
    return connection


@contextmanager
def waited_for_once(pool: Any) -> Iterator[None]:
    """Around a connect beside a pool: a wait in vain is told again at once to whoever asks later in the same work."""
    work = present_work()
    failed, until = (None, 0.0) if work is None else work.memory.get(pool, (None, 0.0))
    if failed is not None and monotonic() < until:
        raise replica(failed)
    began = monotonic()
    try:
        yield
    except redis.RedisError as ex:
        if work is not None and monotonic() - began > _WAIT:
            work.memory[pool] = replica(ex), monotonic() + _KEPT
        raise
