"""A task's connection of its own, which is none of the pool's."""

from __future__ import annotations

import asyncio
from asyncio import Future
from collections.abc import Callable
from typing import Any

import psycopg
from psycopg.adapt import AdaptersMap

from poolmgr.targets.postgresql.asyncio.connection import nothing

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

    def part(self) -> None:
        """As ``close()``, which waits for nothing."""
        self._closed = True
        self.pgconn.finish()


async def open_apart(make: Callable[[], Any], cursor_factory: Any) -> OwnConnection:
    """What the wrapper for threads that ``make`` makes has connected, in a thread, with all who hear of it there.

    Raises what that raises. Where whoever asked is cancelled, the connection is closed as soon as it is there.
    """
    opens = asyncio.get_running_loop().run_in_executor(None, _open, make)
    try:
        made = await asyncio.shield(opens)
    except BaseException:
        opens.add_done_callback(_close)
        raise
    return OwnConnection(made, cursor_factory)


def _open(make: Callable[[], Any]) -> Any:
    wrapper = make()
    with wrapper.unpooled():
        wrapper.ensure_connection()
        made, wrapper.connection = wrapper.connection, None
        return made


def _close(opens: Future[Any]) -> None:
    if not (opens.cancelled() or opens.exception()):
        opens.result().close()
