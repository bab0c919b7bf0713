"""Looking at the socket of a connection, and ending its conversation, whatever library holds it."""

from __future__ import annotations

import ctypes
import os
import select
import socket
import sys
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from threading import Thread
from time import monotonic
from typing import Any

from poolmgr.pools.cancelling import AGAIN

#: The longest that a server is asked to stop what nobody waits for, in seconds.
_LONGEST = 5.0
#: Seconds of silence after which the kernel asks a host, and between two such questions; how many may go unanswered; and the
#: milliseconds for which what was sent may be.
KEEPALIVES_IDLE, KEEPALIVES_INTERVAL, KEEPALIVES_COUNT, TCP_USER_TIMEOUT = 30, 5, 3, 20_000
#: Seconds after which what runs is stopped again for the first time: the first request may have come before its statement.
_SOON = 0.05


def hang_up(fileno: int) -> None:
    """End a conversation that another thread may be in the middle of: it gets its library's error.

    A descriptor that is closed meanwhile is no error.
    """
    with suppress(OSError), socket.socket(fileno=os.dup(fileno)) as copy:
        # Of a copy, so that the library still closes its own.
        copy.shutdown(socket.SHUT_RDWR)


def say_good_bye(fileno: int) -> None:
    """Have the server see an end of what we say, and close its own, which can still be heard. As above, no error."""
    with suppress(OSError), socket.socket(fileno=os.dup(fileno)) as copy:
        copy.shutdown(socket.SHUT_WR)


def bound_silence(fileno: int) -> None:
    """Have the kernel end a conversation whose host says nothing any more, on Linux. As above, no error."""
    if sys.platform == "linux":
        with suppress(OSError), socket.socket(fileno=os.dup(fileno)) as copy:
            if copy.family != socket.AF_UNIX:
                copy.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
                copy.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, KEEPALIVES_IDLE)
                copy.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, KEEPALIVES_INTERVAL)
                copy.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, KEEPALIVES_COUNT)
                copy.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, TCP_USER_TIMEOUT)


def has_hung_up(fileno: int) -> bool:
    """Whether the peer has closed its end, whatever is to be read before that. Raises ``OSError`` where it can't be told."""
    poller = select.poll()
    poller.register(fileno, _HUNG_UP)
    return any(found & _HUNG_UP for _, found in poller.poll(0))


def first_byte(fileno: int) -> bytes | None:
    """What is to be read first, which stays to be read; empty at the end, None where nothing is there."""
    with socket.socket(fileno=os.dup(fileno)) as copy:
        try:
            return copy.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except BlockingIOError:
            return None


def watch(fileno: int) -> Callable[[int], Any]:
    """A function that tells, without waiting when called with 0, whether the peer sent something or hung up.

    Where an idle connection is silent, as PostgreSQL's is, news means that the server said good-bye or the connection broke.
    """
    if _poll is None:  # Windows
        return lambda timeout: select.select([fileno], [], [], timeout)[0]
    watched = _Watched(fileno, select.POLLIN | getattr(select, "POLLRDHUP", 0))
    return partial(_poll, ctypes.byref(watched), 1)


def hears_the_end(sock: Any, deadline: float) -> bool:
    """Throw away what still comes, until the server has closed its end; whether it did. The socket is closed in any case."""
    try:
        return _hears_the_end(sock, deadline)
    finally:
        sock.close()


def _hears_the_end(sock: Any, deadline: float) -> bool:
    try:
        sock.setblocking(False)
        while (left := deadline - monotonic()) > 0:
            if not _readable(sock, left):
                break
            with suppress(BlockingIOError):
                if not sock.recv(65536):
                    return True
    except OSError:
        return True
    return False


class Ear:
    """A copy of the socket of a connection that its library is about to close, to hear when the server has closed its end.

    ``stop``, called with a deadline, has the server stop what runs on it, which else would have to come to its end first.

    Raises ``OSError`` where there is no socket any more, as in a forked child, or no descriptor is left.
    """

    def __init__(self, fileno: int) -> None:
        self.stop: Callable[[float], object] | None = None
        copy = os.dup(fileno)
        try:
            self._sock = socket.socket(fileno=copy)
        except OSError:
            os.close(copy)
            raise

    def hang_up(self) -> None:
        """Say good-bye now, which else the last descriptor does."""
        with suppress(OSError):
            self._sock.shutdown(socket.SHUT_WR)

    def break_off(self) -> None:
        """Whoever waits for the server's end, or for anything else on this socket in another thread, does so no longer."""
        with suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Where nobody wants to hear the end."""
        self._sock.close()

    def hears_the_end(self, deadline: float) -> bool:
        """Called once, when the library has closed the connection; ``deadline`` is on the monotonic clock.

        What is to be stopped is asked to for some seconds more: a place may come free sooner than its statement ends.
        """
        self.hang_up()
        gone = False
        try:
            gone = self._hears(deadline)
        finally:
            if gone or self.stop is None:
                self.close()
            else:
                Thread(target=self._insist, name="poolmgr-deadline", daemon=True).start()
        return gone

    def _hears(self, deadline: float) -> bool:
        pause = _SOON
        while self.stop is not None and monotonic() < deadline:
            self.stop(deadline)
            if _hears_the_end(self._sock, min(deadline, monotonic() + pause)):
                return True
            pause = min(2 * pause, AGAIN)
        return _hears_the_end(self._sock, deadline)

    def _insist(self) -> None:
        try:
            self._hears(monotonic() + _LONGEST)
        finally:
            self.close()


def _readable(sock: Any, seconds: float) -> bool:
    if not hasattr(select, "poll"):  # Windows
        return bool(select.select([sock], [], [], seconds)[0])
    poller = select.poll()
    poller.register(sock, select.POLLIN)
    return bool(poller.poll(max(1, int(seconds * 1000))))


#: Where there is no poll() nobody asks.
_HUNG_UP = sum(getattr(select, name, 0) for name in ("POLLHUP", "POLLERR", "POLLNVAL", "POLLRDHUP"))


class _Watched(ctypes.Structure):
    """C's struct pollfd."""

    _fields_ = (("fd", ctypes.c_int), ("events", ctypes.c_short), ("revents", ctypes.c_short))


# C's own poll(), called without letting go of the interpreter's lock. Python's lets go of it even where it can't wait: under
# load every checkout would then stand in line for the interpreter while it holds a connection that others wait for.
# gevent has no hand in it either: its poll() would switch greenlets inside the pool's lock.
_poll: Any = ctypes.PyDLL(None).poll if hasattr(select, "poll") else None
