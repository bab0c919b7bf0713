"""A connection record of an asyncio engine's, as the core sees it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from time import monotonic
from typing import Any

from poolmgr.pools.aio.bridge import Bridge, LoopBusy
from poolmgr.pools.aio.forgotten import is_suspended, users_of
from poolmgr.pools.aio.making import Making
from poolmgr.pools.core.driver import NoAnswer
from poolmgr.pools.core.slot import Slot
from poolmgr.pools.sockets import say_good_bye
from poolmgr.pools.sql.listening import listen
from poolmgr.targets.sqlalchemy.asyncio.first import First
from poolmgr.targets.sqlalchemy.asyncio.greenlets import greenlet_spawn
from poolmgr.targets.sqlalchemy.driver import RecordDriver
from poolmgr.targets.sqlalchemy.driver import ask as sync_ask
from poolmgr.targets.sqlalchemy.library import sqlalchemy
from poolmgr.targets.sqlalchemy.sockets import fileno_of
from poolmgr.targets.sqlalchemy.stopping import has_ended, listen_for_the_end, sever, stop_of

#: Seconds after which a question is given up whose connection could not be broken off.
_LATE = 0.25


class AsyncRecordDriver(RecordDriver):
    """In the loop that the bridge leads into, where each thing that may wait is a greenlet of a task of its own."""

    def __init__(self, make: Callable[[], Any], dialect: Callable[[], Any], bridge: Bridge, first: First) -> None:
        super().__init__(make, dialect)
        self._bridge = bridge
        self._first = first

    def connect(self, timeout: float) -> Any:
        return self._first.in_turn(self._connect, timeout)

    def _connect(self, timeout: float) -> Any:
        making = Making(partial(greenlet_spawn, self._make), _let_go_unheard)
        try:
            return self._bridge.connect(making.make, timeout, _let_go_unheard)
        except BaseException as ex:
            making.give_up()
            if isinstance(ex, TimeoutError):
                raise NoAnswer(f"no answer within {timeout:g} s") from ex
            raise

    def close(self, conn: Any, deadline: float) -> bool:
        # In the middle of a statement a driver's own close fails, or would have to wait.
        if self._bridge.is_open and stop_of(conn.driver_connection, conn.in_use) is None:
            with suppress(LoopBusy, TimeoutError):
                self._bridge.run(partial(greenlet_spawn, conn.close), max(0.1, deadline - monotonic()))
        if (driver_s := take_out(conn)) is not None:
            end_it = partial(end, driver_s)
            if not self._bridge.tell(end_it):
                end_it()
        return has_ended(conn, deadline)

    def let_go(self, conn: Any) -> None:
        let_go(conn)

    def bind(self, conn: Any, slot: Slot) -> None:
        conn.borrower = None
        super().bind(conn, slot)

    def follow(self, conn: Any, slot: Slot) -> None:
        super().follow(conn, slot)
        driver_s = self._dialect().get_driver_connection(conn.dbapi_connection)
        conn.driver_s, conn.is_spoilt = driver_s, bool
        if hasattr(driver_s, "is_in_transaction"):
            # asyncpg's: whether a transaction is open, by whatever means it was begun. What is closed can't tell.
            conn.is_spoilt = lambda: driver_s.is_closed() or driver_s.is_in_transaction()
        if hasattr(driver_s, "is_closed"):
            slot.has_news = _news_of_asyncpg_s(driver_s, slot.has_news)

    def ask(self, conn: Any, query: str, deadline: float) -> None:
        left = max(0.0, deadline - monotonic())
        try:
            self._bridge.run(partial(self.aask, conn, query, left), left + 2 * _LATE)
        except TimeoutError as ex:
            raise NoAnswer(f"no answer to {query} before the deadline") from ex

    async def aask(self, conn: Any, query: str, seconds: float) -> None:
        # A task that is cancelled has psycopg wait for the server once more.
        cut = asyncio.get_running_loop().call_later(seconds, partial(sever, conn, at_once=True))
        ends = monotonic() + seconds
        try:
            await ask(self._dialect(), conn.dbapi_connection, query, seconds + _LATE)
        except Exception as ex:
            if monotonic() >= ends:
                raise NoAnswer(f"no answer to {query} within {seconds:g} s") from ex
            raise
        finally:
            cut.cancel()

    def said(self, conn: Any) -> int:
        """Nobody counts; who could say something has SQLAlchemy's stand-in for the connection."""
        return 0

    def is_kept_by(self, user: Any) -> bool:
        return may_go_on(user)


def _news_of_asyncpg_s(driver_s: Any, look: Callable[[int], Any]) -> Callable[[int], Any]:
    # What its loop has read is no news to the socket any more, and it tells nobody that the server has said good-bye.
    is_closed, listening = driver_s.is_closed, listen(driver_s._transport, driver_s._protocol)
    return lambda timeout: look(timeout) or is_closed() or (listening.rest and listening.has_heard_the_end)


def may_go_on(user: Any) -> bool:
    """SQLAlchemy's stand-in for a connection, if a ``Connection`` of its or code that waits has that."""
    return isinstance(user, sqlalchemy.pool.base._ConnectionFairy) and any(map(_may_use, users_of(user)))


def _may_use(user: Any) -> bool:
    return is_suspended(user) or isinstance(user, sqlalchemy.Connection)


async def ask(dialect: Any, connection: Any, query: str, seconds: float) -> Any:
    """As the sync one. Raises ``NoAnswer`` after so many seconds, the driver's error where the connection broke."""
    try:
        async with asyncio.timeout(seconds):
            return await greenlet_spawn(sync_ask, dialect, connection, query)
    except TimeoutError as ex:
        raise NoAnswer(f"no answer to {query} within {seconds:g} s") from ex


def let_go(record: Any) -> None:
    """Close by the driver's own means, which wait for nothing; ``close()`` hears the server's end."""
    if (driver_s := take_out(record)) is not None:
        end(driver_s)


def _let_go_unheard(record: Any) -> None:
    let_go(record)
    has_ended(record, 0.0)


def take_out(record: Any) -> Any:
    """The driver's connection, which the record has no more, to be ended; None where it has none."""
    if (driver_s := record.driver_connection) is not None:
        # Before anybody else who closes it can see that there is nothing left to wait for.
        listen_for_the_end(record, driver_s, record.in_use)
    connection, record.dbapi_connection = record.dbapi_connection, None
    return None if connection is None else driver_s


def end(driver_s: Any) -> None:
    fileno = fileno_of(driver_s)
    # psycopg's, and asyncpg's. Either may need a loop that is closed by now.
    pgconn = getattr(driver_s, "pgconn", None)
    with suppress(Exception):
        driver_s.terminate() if pgconn is None else pgconn.finish()
    if fileno >= 0 and fileno == fileno_of(driver_s):
        say_good_bye(fileno)
