"""Stopping what runs on a connection, over a connection of its own, by steps that never wait."""

from __future__ import annotations

import logging
from collections.abc import Generator
from threading import Thread
from time import monotonic
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
