"""Connects that can be given up in good order: what libpq had begun when the time was over is not lost with the attempt."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from math import inf
from time import monotonic
from typing import Any

import psycopg
from psycopg import pq
from psycopg.waiting import Wait

from poolmgr.secrets import disarm

_Status = pq.PollingStatus
#: Seconds.
_SOON = 1.0


class _Begun(threading.local):
    """What each thread has begun to open."""

    def __init__(self) -> None:
        self.connections: list[Any] = []
        self.until = inf


_begun = _Begun()


def unfinished() -> list[Any]:
    """The connections that the present thread has begun to open and given up since it was last asked."""
    left, _begun.connections = _begun.connections, []
    return left


@contextmanager
def open_until(moment: float) -> Iterator[None]:
    """What the present thread has begun to open in the block is given up at this moment on the monotonic clock."""
    _begun.until = moment
    try:
        yield
    finally:
        _begun.until = inf


def connect_soon(conninfo: str = "", **parameters: Any) -> Any:
    """A connection that is no pool's, or ``psycopg.Error`` after a second at most; looking up a name may take longer."""
    failed: psycopg.Error | None = None
    try:
        with open_until(monotonic() + _SOON):
            return Opening.connect(conninfo, **parameters)
    except psycopg.Error as ex:
        failed = disarm(ex)
    finally:
        for given_up in unfinished():
            given_up.close()
    raise failed


class Opening(psycopg.Connection[Any]):
    """psycopg's, whose own way of connecting keeps libpq's connection to itself, and drops it when the time is over.

    The server may be past the password by then, and have a session that waits, as a trigger at the login does. There is no
    key yet by which it could be cancelled, but its end can be heard.
    """

    @classmethod
    def _connect_gen(cls, conninfo: str = "", *, timeout: float = 0.0) -> Any:
        # A time of psycopg 3.2's; since 3.3 whoever waits looks at the clock.
        deadline = min(_begun.until, monotonic() + timeout if timeout else inf)
        pgconn = pq.PGconn.connect_start(conninfo.encode())
        connection = cls(pgconn)
        _begun.connections.append(connection)
        while pgconn.status != pq.ConnStatus.BAD:
            status = pgconn.connect_poll()
            if status not in (_Status.READING, _Status.WRITING):
                break
            while not (yield pgconn.socket, Wait.R if status == _Status.READING else Wait.W):
                if monotonic() > deadline:
                    raise psycopg.errors.ConnectionTimeout("connection timeout expired")
        _begun.connections.remove(connection)
        if pgconn.status != pq.ConnStatus.OK:
            message = f"connection failed: {pgconn.get_error_message()}"
            connection.close()
            raise psycopg.OperationalError(message)
        pgconn.nonblocking = 1
        return connection
