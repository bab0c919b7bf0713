"""redis-py, as the core sees it."""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping
from contextlib import suppress
from time import monotonic
from typing import Any

from poolmgr.exceptions import CheckoutError
from poolmgr.pools.checkouts import LeftAlone
from poolmgr.pools.core.driver import NoAnswer
from poolmgr.pools.core.slot import Slot
from poolmgr.pools.diagnosis import Diagnosis
from poolmgr.pools.sockets import hang_up
from poolmgr.targets.redis.diagnosis import diagnose, is_of_the_server
from poolmgr.targets.redis.errors import ERRORS
from poolmgr.targets.redis.kind import REDIS
from poolmgr.targets.redis.library import redis

#: The first byte of what a server of RESP3 sends unasked.
_PUSH = b">"


class RedisDriver:
    """``make`` gives a connection that is not connected yet; called at every connect, so that credentials may rotate."""

    errors: Mapping[type[CheckoutError], type[CheckoutError]] = ERRORS

    def __init__(self, make: Callable[[], Any]) -> None:
        self._make = make

    def connect(self, timeout: float) -> Any:
        conn = self._make()
        try:
            conn.connect_within(timeout)
        except BaseException:
            conn.part(monotonic())
            raise
        return conn

    def bind(self, conn: Any, slot: Slot) -> None:
        conn.slot = slot

    def close(self, conn: Any, deadline: float) -> bool:
        return bool(conn.part(deadline))

    def sever(self, conn: Any) -> None:
        if (fileno := self.fileno(conn)) >= 0:
            hang_up(fileno)

    def stop(self, conn: Any) -> None:
        raise LeftAlone(REDIS.denies["cancel"])

    def fileno(self, conn: Any) -> int:
        sock = conn._sock
        return -1 if sock is None else sock.fileno()

    def server_id(self, conn: Any) -> int:
        return int(conn.server_id)

    def gone(self, conn: Any) -> bool:
        """Whether the server hung up, or sent what another has asked for. What it says unasked is no sign of death."""
        sock = conn._sock
        if sock is None:
            return True
        try:
            if type(sock) is not socket.socket:  # TLS, which speaks of its own accord
                return bool(conn.can_read(0)) and not _has_push(conn)
            return sock.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) != _PUSH
        except BlockingIOError:
            return False
        except (OSError, redis.RedisError):
            return True

    def ask(self, conn: Any, query: str, deadline: float) -> None:
        """PING. Whatever the server says is an answer, also that it loads or that the user may not ask."""
        conn.send_command(query, check_health=False)
        if not conn.can_read(max(0.0, deadline - monotonic())):
            raise NoAnswer(f"no answer to {query} before the deadline")
        with suppress(redis.ResponseError):
            conn.read_response()

    def standing(self, conn: Any) -> str:
        """What is sent to it unasked has to be waited for."""
        return conn.traffic.standing()  # type: ignore[no-any-return]

    def doing(self, conn: Any) -> str:
        return ""

    def is_of_the_server(self, error: BaseException) -> bool:
        return is_of_the_server(error)

    def diagnose(self, error: BaseException) -> Diagnosis:
        return diagnose(error)


def _has_push(conn: Any) -> bool:
    """Whether what was read ahead begins as a push message does."""
    buffer = getattr(conn._parser, "_buffer", None)
    if buffer is None:
        return False
    inner = buffer._buffer
    position = inner.tell()
    first = inner.read(1)
    inner.seek(position)
    return bool(first == _PUSH)
