"""How what runs on a driver's connection is stopped at the server: psycopg and asyncpg know a way.

psycopg2 has one too, which keeps the interpreter's lock until the server has answered: with one that is frozen all threads of
the process would stand still.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from threading import Event, Thread
from time import monotonic, sleep
from typing import Any

from psycopg import pq

from poolmgr.pools.cancelling import AGAIN, Cancel, walk
from poolmgr.pools.core.leaving import PATIENCE
from poolmgr.pools.forks import attend, here
from poolmgr.pools.sockets import Ear, hang_up
from poolmgr.targets.sqlalchemy.sockets import fileno_of

logger = logging.getLogger("poolmgr.pool")

#: libpq's words for a statement that runs, or whose results nobody has read, and for a connection that is no more.
_ACTIVE, _GONE = pq.TransactionStatus.ACTIVE, pq.TransactionStatus.UNKNOWN
#: Called with a deadline on the monotonic clock, once or again, in a thread that may wait; the connection may be closed.
Stop = Callable[[float], object]


def stop_of(driver_s: Any, used: bool, at_work: bool = False) -> Stop | None:
    """For a connection that is there still; None where nothing runs on it, or where its driver knows no way.

    ``used`` is whether somebody is at it, where a driver doesn't tell what runs; ``at_work`` whether they may say more in the
    next moment, whatever runs in this one.
    """
    with suppress(Exception):  # each driver has errors of its own, such as of one that is closed
        if hasattr(driver_s, "pgconn"):
            status = driver_s.pgconn.transaction_status
            return _Psycopg(driver_s) if status == _ACTIVE or (at_work and status != _GONE) else None
        if hasattr(driver_s, "get_server_pid"):
            return _Asyncpg(driver_s) if used and not driver_s.is_closed() else None
    return None


def listen_for_the_end(record: Any, driver_s: Any, used: bool) -> None:
    """Called when the record's connection is about to be closed: ``record.ear`` hears the server's end, and has it stop."""
    if not here:
        attend()
    try:
        ear = Ear(fileno_of(driver_s))
    except OSError:
        return  # in a forked child what runs is the parent's
    if getattr(record, "slot", None) is not None:
        ear.stop = stop_of(driver_s, used)
    if record.__dict__.setdefault("ear", ear) is not ear:
        ear.close()  # somebody closes it already


def has_ended(record: Any, deadline: float) -> bool:
    """Wait for the server to end what was closed by now; whether that was seen, or all was done that could be."""
    if (stopped := getattr(record, "stopped", None)) is not None:
        stopped.wait(max(0.0, deadline - monotonic()))
        record.stopped = None
    ear = record.__dict__.pop("ear", None)
    return ear is None or bool(ear.hears_the_end(deadline))


def sever(record: Any, at_once: bool) -> None:
    """End the conversation on it, now or when what runs is stopped, for which a thread of its own waits."""
    driver_s = record.driver_connection
    stop, fileno = stop_of(driver_s, used=True, at_work=True), fileno_of(driver_s)
    if stop is not None:
        stopped = record.stopped = Event()
        Thread(target=_break_off, args=[stop, driver_s, stopped], name="poolmgr-deadline", daemon=True).start()
        if not at_once:
            return
    if fileno >= 0:
        hang_up(fileno)


def _break_off(stop: Stop, driver_s: Any, stopped: Event) -> None:
    deadline, pause = monotonic() + PATIENCE, AGAIN
    try:
        stop(deadline)
    finally:
        if (fileno := fileno_of(driver_s)) >= 0:  # else it was closed meanwhile
            hang_up(fileno)
        stopped.set()
    # Nothing is heard on it any more, such as whether that came before its statement.
    while monotonic() + pause < deadline:
        sleep(pause)
        stop(deadline)
        pause *= 2


class _Psycopg:
    """psycopg's, sync and asyncio: libpq gives a key that outlives the connection."""

    def __init__(self, driver_s: Any) -> None:
        self._cancel = Cancel(driver_s.pgconn)

    def __call__(self, deadline: float) -> None:
        walk(self._cancel.send(deadline))


class _Asyncpg:
    """asyncpg's own request, in a loop of its own: the connection's may be closed, or at something else."""

    def __init__(self, driver_s: Any) -> None:
        self._where = {"addr": driver_s._addr, "params": driver_s._params}
        protocol = driver_s._protocol
        self._key = {"backend_pid": protocol.backend_pid, "backend_secret": protocol.backend_secret}

    def __call__(self, deadline: float) -> None:
        try:
            asyncio.run(self._send(deadline - monotonic()))
        except Exception as ex:
            logger.info("a statement could not be cancelled: %s", type(ex).__name__)

    async def _send(self, seconds: float) -> None:
        from asyncpg.connect_utils import _cancel  # of a library that is there where a connection of it is

        async with asyncio.timeout(max(0.0, seconds)):
            await _cancel(loop=asyncio.get_running_loop(), **self._where, **self._key)
