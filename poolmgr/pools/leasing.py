"""What becomes of a pool's connections when the lease runs out by which it holds them."""

from __future__ import annotations

import logging
from dataclasses import replace
from math import inf
from threading import Thread
from time import monotonic
from typing import TYPE_CHECKING
from weakref import ref

from poolmgr.pools.connection import PooledConnection
from poolmgr.pools.liveness import break_off

if TYPE_CHECKING:
    from poolmgr.pools.managed import ManagedPool

logger = logging.getLogger("poolmgr.pool")


def lapse(managed: ManagedPool) -> None:
    """Serve nobody and close what is idle, unless the lease was renewed meanwhile."""
    with managed.pool._lock:
        allowance = managed.allowance
        if allowance is None or not allowance.most or monotonic() < allowance.lapses:
            return
        managed.allowance = replace(allowance, most=0)
    logger.warning("pool %r: the lease runs out by which it holds connections of the budget", managed.target)
    managed._resize()


def watch(managed: ManagedPool) -> None:
    """Look at the lease now, and have the pool's scheduler do so whatever becomes of the agent that renews it."""
    at = _look(managed)
    with managed.pool._lock:
        if managed.watched or not managed.kept or at == inf:
            return
        managed.watched = True
    managed.pool._sched.enter(max(0.0, at - monotonic()), _Watch(managed))


class _Watch:
    """Runs at the two moments that count; it holds the pool weakly, so that a dropped pool ends by itself."""

    def __init__(self, managed: ManagedPool) -> None:
        self._managed = ref(managed)

    def __call__(self) -> None:
        managed = self._managed()
        if managed is None or managed.ended:
            return
        managed.watched = False
        watch(managed)


def _look(managed: ManagedPool) -> float:
    """Do what the lease asks for by now; when to look again, or infinity."""
    lapse(managed)
    now = monotonic()
    with managed.pool._lock:
        allowance = managed.allowance
        if allowance is None or now < allowance.lapses:
            return inf if allowance is None else allowance.lapses
        if now < allowance.ends:
            return allowance.ends
        # Whatever is granted from now on, others may have had this room meanwhile.
        over = [(conn, conn.entry.epoch) for conn in managed.out if conn not in managed.broken_off]
        managed.broken_off.update(conn for conn, _ in over)
    for conn, epoch in over:
        # All at once, and not by the pool's workers, who may be at connects and hooks that hang.
        Thread(target=_break_off, args=[managed, conn, epoch], name="poolmgr-deadline", daemon=True).start()
    return inf


def _break_off(managed: ManagedPool, conn: PooledConnection, epoch: int) -> None:
    """End a conversation that a borrower is in the middle of; they give the connection back, or lose it as dead."""
    with managed.pool._lock:
        if conn not in managed.out or conn.entry.epoch != epoch:
            return  # given back meanwhile
    logger.warning("pool %r: a connection in use is broken off, since the lease is over", managed.target)
    break_off(conn)
