"""A task's connection of its own, which is none of the pool's."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Future
from threading import Thread
from typing import Any

import psycopg
from django.db import connections
from psycopg.adapt import AdaptersMap

from poolmgr.pools.cancelling import Cancel
from poolmgr.pools.sockets import hang_up
from poolmgr.targets.postgresql.asyncio.connection import nothing
from poolmgr.targets.postgresql.parting import abandon

#: psycopg's attributes that are as whoever opened the connection has left them.
_KEPT = (
    "_prepared",
    "_autocommit",
    "_isolation_level",
    "_read_only",
    "_deferrable",
    "_notice_handlers",
    "_notify_handlers",
)


class OwnConnection(psycopg.AsyncConnection[Any]):
    """psycopg's for asyncio, in the place of one for threads, which is over with that."""

    def __init__(self, made: Any, cursor_factory: Any) -> None:
        super().__init__(made.pgconn)
        for name in _KEPT:
            setattr(self, name, getattr(made, name))
        self._adapters = AdaptersMap(made.adapters)
        self.cursor_factory = cursor_factory
        made.pgconn = nothing()
        self._waits = 0

    async def wait(self, *args: Any, **kwargs: Any) -> Any:
        """psycopg's, by which all goes that it sends."""
        self._waits += 1
        try:
            return await super().wait(*args, **kwargs)
        finally:
            self._waits -= 1
            if self._closed and not self._waits:
                self.pgconn.finish()

    def part(self) -> None:
        """As ``close()``, which waits for nothing. A task that waits for an answer is broken off.

        Until it has heard of that their loop watches the socket, which must not be closed.
        """
        self._closed = True
        if not self._waits:
            self.pgconn.finish()
        else:
            abandon(Cancel(self.pgconn))
            hang_up(self.fileno())


async def open_apart(make: Callable[[], Any], cursor_factory: Any) -> OwnConnection:
    """What the wrapper for threads that ``make`` makes has connected, in a thread, with all who hear of it there.

    Raises what that raises. Where whoever asked is cancelled, the connection is closed as soon as it is there.
    """
    opens: Future[Any] = Future()
    Thread(target=_open, args=(make, opens), name="poolmgr-apart", daemon=True).start()
    try:
        made = await asyncio.shield(asyncio.wrap_future(opens))
    except BaseException:
        opens.add_done_callback(_close)
        raise
    return OwnConnection(made, cursor_factory)


def _open(make: Callable[[], Any], opens: Future[Any]) -> None:
    """In a thread of its own: whoever hears of the connection and asks for one by the alias gets this one there."""
    try:
        wrapper = make()
        connections[wrapper.alias] = wrapper
        with wrapper.unpooled():
            wrapper.ensure_connection()
            made, wrapper.connection = wrapper.connection, None
    except BaseException as ex:
        opens.set_exception(ex)
    else:
        opens.set_result(made)


def _close(opens: Future[Any]) -> None:
    if opens.exception() is None:
        opens.result().close()
