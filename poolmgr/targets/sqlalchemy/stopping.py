"""How what runs on a driver's connection is stopped at the server: psycopg and asyncpg know a way.

psycopg2 has one too, which keeps the interpreter's lock until the server has answered: with one that is frozen all threads of
the process would stand still.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from functools import partial
from time import monotonic
from typing import Any

from psycopg import pq

from poolmgr.pools.cancelling import CancelStop
from poolmgr.pools.forks import attend, here
from poolmgr.pools.sockets import Ear, hang_up
from poolmgr.pools.stopping import AwaitedStop, Stop, break_off
from poolmgr.targets.sqlalchemy.sockets import fileno_of

#: libpq's words for a statement that runs, or whose results nobody has read, and for a connection that is no more.
_ACTIVE, _GONE = pq.TransactionStatus.ACTIVE, pq.TransactionStatus.UNKNOWN


def stop_of(driver_s: Any, used: bool, at_work: bool = False) -> Stop | None:
    """For a connection that is there still; None where nothing runs on it, or where its driver knows no way.

    ``used`` is whether somebody is at it, where a driver doesn't tell what runs; ``at_work`` whether they may say more in the
    next moment, whatever runs in this one.
    """
    with suppress(Exception):  # each driver has errors of its own, such as of one that is closed
        if hasattr(driver_s, "pgconn"):
            status = driver_s.pgconn.transaction_status
            return CancelStop(driver_s.pgconn) if status == _ACTIVE or (at_work and status != _GONE) else None
        if hasattr(driver_s, "get_server_pid"):
            return _asyncpg_s(driver_s) if used and not driver_s.is_closed() else None
    return None


def listen_for_the_end(record: Any, driver_s: Any, used: bool) -> None:
    """Called when the record's connection is about to be closed: ``record.ear`` hears the server's end, and has it stop."""
    if not here:
        attend()
    if (fileno := fileno_of(driver_s)) < 0:
        _stop_unheard(record, driver_s, used)
        return
    try:
        ear = Ear(fileno)
    except OSError:
        return  # in a forked child what runs is the parent's
    if getattr(record, "slot", None) is not None:
        ear.stop = stop_of(driver_s, used)
    if record.__dict__.setdefault("ear", ear) is not ear:
        ear.close()  # somebody closes it already


def _stop_unheard(record: Any, driver_s: Any, used: bool) -> None:
    # uvloop closes its sockets before asyncpg hears of it, and then nobody hears the server's end.
    is_stoppable = used and getattr(record, "slot", None) is not None and hasattr(driver_s, "get_server_pid")
    if is_stoppable and (stop := _asyncpg_s(driver_s)) is not None:
        record.stopped = break_off(stop, int)


def has_ended(record: Any, deadline: float) -> bool:
    """Wait for the server to end what was closed by now; whether that was seen, or all was done that could be."""
    if (stopped := getattr(record, "stopped", None)) is not None:
        stopped.wait(max(0.0, deadline - monotonic()))
        record.stopped = None
    # It stays set: who closes it at the same moment must not leave another, which nobody would hear.
    ear, record.ear = getattr(record, "ear", None), None
    return ear is None or bool(ear.hears_the_end(deadline))


def sever(record: Any, at_once: bool) -> None:
    """End the conversation on it, now or when what runs is stopped, for which a thread of its own waits."""
    driver_s = record.driver_connection
    stop, fileno = stop_of(driver_s, used=True, at_work=True), fileno_of(driver_s)
    if stop is not None:
        record.stopped = break_off(stop, partial(_hang_up, driver_s))
        if not at_once:
            return
    if fileno >= 0:
        hang_up(fileno)


def _hang_up(driver_s: Any) -> None:
    if (fileno := fileno_of(driver_s)) >= 0:  # else it was closed meanwhile
        hang_up(fileno)


def stops(driver_s: Any) -> bool:
    """Whether its driver knows a way."""
    return hasattr(driver_s, "pgconn") or hasattr(driver_s, "get_server_pid")


def _asyncpg_s(driver_s: Any) -> Stop | None:
    """asyncpg's own request, by a key that outlives the connection; None where that was broken off, and its key with it."""
    if (protocol := driver_s._protocol) is None:
        return None
    key = {"backend_pid": protocol.backend_pid, "backend_secret": protocol.backend_secret}
    return AwaitedStop(partial(_send, addr=driver_s._addr, params=driver_s._params, **key))


async def _send(**where: Any) -> None:
    from asyncpg.connect_utils import _cancel  # of a library that is there where a connection of it is

    await _cancel(loop=asyncio.get_running_loop(), **where)
