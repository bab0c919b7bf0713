"""What becomes of a pool's connections when the lease runs out by which it holds them."""

from __future__ import annotations

import logging
import os
import socket
from dataclasses import replace
from functools import partial
from math import inf
from time import monotonic
from typing import TYPE_CHECKING
from weakref import ref

import psycopg

from poolmgr.pools.connection import PooledConnection
from poolmgr.pools.liveness import PATIENCE
from poolmgr.pools.work import in_worker

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
    """Have the pool's scheduler look after its lease, whatever becomes of the agent that renews it."""
    with managed.pool._lock:
        if managed.watched or not managed.kept:
            return
        managed.watched = True
    _Watch(managed)()


class _Watch:
    """Runs at the two moments that count; it holds the pool weakly, so that a dropped pool ends by itself."""

    def __init__(self, managed: ManagedPool) -> None:
        self._managed = ref(managed)

    def __call__(self) -> None:
        managed = self._managed()
        if managed is None or managed.retired:
            return
        now = monotonic()
        lapse(managed)
        with managed.pool._lock:
            allowance = managed.allowance
            at = inf if allowance is None else allowance.lapses if now < allowance.lapses else allowance.ends
            over = [conn for conn in managed.out if conn not in managed.broken_off] if now >= at else []
            managed.broken_off.update(over)
            managed.watched = at < inf and not over and now < at
        for conn in over:
            in_worker(managed.pool, partial(_break_off, managed, conn))
        if managed.watched:
            managed.pool._sched.enter(at - now, self)


def _break_off(managed: ManagedPool, conn: PooledConnection) -> None:
    """End a conversation that a borrower is in the middle of; they give the connection back, or lose it as dead."""
    logger.warning("pool %r: a connection in use is broken off, since the lease is over", managed.target)
    try:
        conn.cancel_safe(timeout=PATIENCE)
        # A copy of the descriptor: libpq still closes its own.
        with socket.socket(fileno=os.dup(conn.fileno())) as copy:
            copy.shutdown(socket.SHUT_RDWR)
    except (psycopg.Error, OSError) as error:
        logger.info("pool %r: %s", managed.target, type(error).__name__)
