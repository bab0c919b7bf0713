"""Stopping what runs on a connection of psycopg's, over a connection of its own, by steps that never wait."""

from __future__ import annotations

import logging
import select
from collections.abc import Generator, Iterable
from threading import Thread
from time import monotonic, sleep
from typing import Any, NamedTuple

from psycopg import Error, pq

from poolmgr.secrets import scrub_unread

logger = logging.getLogger("poolmgr.pool")


class Wish(NamedTuple):
    """What a step waits for: that a socket may be read from, or written to."""

    fileno: int
    writes: bool = False


#: Yields what it waits for, None where only time will tell; is sent whether it came true.
Steps = Generator[Wish | None, bool, Any]

#: A cancel may come before its statement, or hit the first of several in line: it is sent again after so many seconds.
AGAIN = 0.5
#: How soon whoever waits for a wish hears of something else, in seconds.
TICK = 0.01
#: libpq's version from which on a request may be sent without waiting, and encrypted.
_POLLED = 170_000


class Cancel:
    """A request to stop whatever statement runs on a connection, which may be closed meanwhile; to be sent once or again."""

    def __init__(self, pgconn: Any) -> None:
        self._token = pgconn.cancel_conn() if pq.version() >= _POLLED else None
        self._blocking = None if self._token else pgconn.get_cancel()
        self.heard = False  # by the server, at least once

    def send(self, deadline: float) -> Steps:
        """Over when the server has heard it, when it can't be reached, or at the deadline on the monotonic clock."""
        try:
            yield from self._poll(self._token, deadline) if self._token else self._wait(deadline)
        except Error as ex:
            logger.info("a statement could not be cancelled: %s", scrub_unread(str(ex)))

    def _poll(self, token: Any, deadline: float) -> Steps:
        try:
            token.start()
            wish = Wish(token.socket, writes=True)
            while True:
                while not (yield wish):
                    if monotonic() >= deadline:
                        return
                status = token.poll()
                if status == pq.PollingStatus.FAILED:
                    raise Error(token.get_error_message())
                if status == pq.PollingStatus.OK:
                    self.heard = True
                    return
                wish = Wish(token.socket, status == pq.PollingStatus.WRITING)
        finally:
            token.reset()

    def _wait(self, deadline: float) -> Steps:
        # An older libpq waits for as long as TCP takes.
        thread = Thread(target=self._try, name="poolmgr-cancel", daemon=True)
        thread.start()
        while thread.is_alive() and monotonic() < deadline:
            yield None

    def _try(self) -> None:
        try:
            self._blocking.cancel()  # type: ignore[union-attr]
            self.heard = True
        except Error as ex:
            logger.info("a statement could not be cancelled: %s", scrub_unread(str(ex)))


class CancelStop:
    """``pools.stopping.Stop`` for a connection of psycopg's, sync or asyncio: libpq gives a key that outlives it."""

    def __init__(self, pgconn: Any) -> None:
        self._cancel = Cancel(pgconn)

    def __call__(self, deadline: float) -> bool:
        walk(self._cancel.send(deadline))
        return self._cancel.heard


def walk(steps: Steps) -> Any:
    """Go through ``steps`` here, waiting for what they wait for; what they come to."""
    try:
        wish = next(steps)
        while True:
            wish = steps.send(wish is not None and wish.fileno in ready([wish]))
    except StopIteration as end:
        return end.value


def ready(wishes: Iterable[Wish | None]) -> frozenset[int]:
    """The sockets for which somebody's wish came true, after a tick at the latest."""
    wanted = [wish for wish in wishes if wish is not None]
    if not wanted:
        sleep(TICK)
        return frozenset()
    if not hasattr(select, "poll"):  # Windows
        reading, writing = ([wish.fileno for wish in wanted if wish.writes is writes] for writes in (False, True))
        return frozenset().union(*select.select(reading, writing, [], TICK))
    poller = select.poll()
    for wish in wanted:
        poller.register(wish.fileno, select.POLLOUT if wish.writes else select.POLLIN)
    return frozenset(fileno for fileno, _ in poller.poll(TICK * 1000))
