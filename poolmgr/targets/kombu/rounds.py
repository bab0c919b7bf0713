"""What a broker's pool does by itself once a second, and what an operator has it do at once."""

from __future__ import annotations

import logging
from time import monotonic
from typing import TYPE_CHECKING, Any

from poolmgr.pools.owners import is_alive, stack_of, who
from poolmgr.pools.port import Recycled
from poolmgr.targets.kombu.holding import Held

if TYPE_CHECKING:
    from poolmgr.targets.kombu.watching import Watching

logger = logging.getLogger("poolmgr.pool")

#: Seconds between two rounds.
INTERVAL = 1.0
#: The longest that a recycle waits between two looks.
_LOOK = 0.5


def look_after(pool: Watching) -> None:
    """One round."""
    now = monotonic()
    with pool.lock:
        pool.history.note(now, pool.wait_time, pool.use_time, pool.counts)
        held = dict(pool.held)
    pool.uses.count(now)
    for connection, of in held.items():
        if not is_alive(of.owner):
            _take_back(pool, connection, of)
    _report_leaks(pool, held, now)
    if pool.connections is not None:
        _renew_one(pool)


def recycle(pool: Watching, timeout: float) -> Recycled:
    """Close what is idle now, one by one, and what is used as it returns, for up to ``timeout`` seconds.

    One is replaced when the broker has closed its end and its place is free: kombu connects when somebody wants to send.
    """
    deadline = monotonic() + timeout
    if pool.connections is None:
        return Recycled(0, 0, pool.problem)
    with pool.changed:
        before = pool.counts["renewed"]
        pool.generation += 1
        while True:
            _renew_one(pool)
            left = pool.connections.old() + sum(each.is_old for each in pool.leaving.values())
            seconds = deadline - monotonic()
            if not left or seconds <= 0:
                return Recycled(pool.counts["renewed"] - before, left)
            pool.changed.wait(min(seconds, _LOOK))


def _renew_one(pool: Watching) -> None:
    """One after the other, so that what else is idle serves meanwhile."""
    with pool.lock:
        if not pool.leaving and (old := pool.connections.take_old()) is not None:
            pool.dispose(old)


def _take_back(pool: Watching, connection: Any, of: Held) -> None:
    with pool.lock:
        if pool.held.get(connection) is not of:
            return
        pool.counts["reclaimed"] += 1
    logger.warning(
        "pool %r: a connection is taken back: %s ended without giving it back", pool.target, who(of.owner, of.label)
    )
    connection._pool.replace(connection)


def _report_leaks(pool: Watching, held: dict[Any, Held], now: float) -> None:
    threshold = pool.spec.leak_threshold
    late = {each: of for each, of in held.items() if threshold and now - of.since > threshold}
    for each, of in late.items():
        if pool.reported.get(each) is not of:
            with pool.lock:
                pool.counts["leaks"] += 1
            logger.warning(
                "pool %r: %s has held a connection for %.1f s (leak_threshold %g s); it is now at\n%s",
                pool.target,
                who(of.owner, of.label),
                now - of.since,
                threshold,
                stack_of(of.owner) or "(no stack)",
            )
    pool.reported = late
