"""How a connection is parted from: what runs on it is cancelled, it is closed, and the server's process is seen to go.

A process closes its end when it ends, and not before: that is waited for, up to a deadline. One thread does so for all pools
of this process. To cancel takes a connection of its own, and a server that is frozen takes its time, for which neither
borrowers nor a pool's few workers may wait.
"""

from __future__ import annotations

import contextlib
import logging
import os
import socket
from collections.abc import Callable, Iterable
from queue import Empty, SimpleQueue
from threading import Lock, Thread
from time import monotonic
from typing import Any

from psycopg import pq

from poolmgr.pools.cancelling import AGAIN, Cancel, Steps, Wish, ready

logger = logging.getLogger("poolmgr.pool")

#: The longest that a server is asked to cancel what nobody waits for, in seconds.
_LONGEST = 5.0


class _Walk:
    """Steps under way; ``value`` is what they came to in the end."""

    def __init__(self, steps: Steps) -> None:
        self.wish: Wish | None = None
        self.value: Any = None
        self._steps = steps
        self._begun = False

    def step(self, ready: frozenset[int] = frozenset()) -> bool:
        """Go on as far as there is nothing to wait for, given the sockets that are ready; True when all is over."""
        try:
            if self._begun:
                self.wish = self._steps.send(self.wish is not None and self.wish.fileno in ready)
            else:
                self._begun = True
                self.wish = next(self._steps)
            return False
        except StopIteration as end:
            self.value = end.value
        except Exception:
            logger.exception("a connection could not be closed in good order")
        return True


class Parting(_Walk):
    """One connection on its way out; ``gone`` says in the end whether the server's process, ``pid``, was seen to go.

    It takes ``patience`` seconds at the longest. ``over`` is called at the end, with the parting.
    """

    def __init__(self, connection: Any, patience: float, over: Callable[[Parting], object] | None = None) -> None:
        pgconn = connection.pgconn
        self.connection = connection
        self.pid = 0 if pgconn.status == pq.ConnStatus.BAD else pgconn.backend_pid
        entry = getattr(connection, "entry", None)
        self.named = "of a pooler" if entry is not None and entry.behind_pooler else self.pid or "(unknown)"
        self.gone = False
        self._over = over
        self._cuts_short = is_busy(connection) or is_cut_off(connection)
        self.patience = patience
        self.ends = monotonic() + patience
        super().__init__(_steps(connection, self.ends))

    def step(self, ready: frozenset[int] = frozenset()) -> bool:
        """As above, and tells that it is over."""
        if not super().step(ready):
            return False
        self.gone = bool(self.value)
        if hasattr(self.connection, "canceller"):  # else it never came to be one
            self.connection.ended()
            if self._cuts_short and not self.gone:
                # Its place is free, but whoever waits for a lock that the statement has would wait for as long as it runs.
                abandon(self.connection.canceller)
        if self._over is not None:
            self._over(self)
        return True


def abandon(canceller: Cancel) -> None:
    """Have what runs on a connection cancelled on which nobody waits: the server was too slow, or it was collected before
    anybody parted from it. May be called from a finaliser."""
    closer().hand_over(_Walk(cancelled(canceller)))


def in_a_thread(work: Callable[[], object]) -> None:
    """Have a thread of its own do ``work``. May be called from a finaliser, which must start none itself: Python is perhaps
    in the middle of what it needs for that."""
    closer().hand_over(_Walk(_started(work)))


def _started(work: Callable[[], object]) -> Steps:
    Thread(target=work, name="poolmgr-last-work", daemon=True).start()
    yield from ()


def cancelled(canceller: Cancel) -> Steps:
    """Sent at growing intervals, since nothing is heard of what a cancel has done that came before its statement."""
    deadline, due, pause = monotonic() + _LONGEST, 0.0, AGAIN
    while (now := monotonic()) < deadline:
        if now < due:
            yield None
            continue
        due, pause = now + pause, pause * 2
        yield from canceller.send(deadline)


def is_busy(connection: Any) -> bool:
    """Whether a statement runs on it, or has results that nobody has read."""
    return bool(connection.pgconn.transaction_status == pq.TransactionStatus.ACTIVE)


def is_cut_off(connection: Any) -> bool:
    """Whether a statement may run on the server of which we have lost hold."""
    return bool(getattr(connection, "cut_off", False)) and hasattr(connection, "canceller")


def part(connection: Any, patience: float) -> bool:
    """Part from ``connection`` and wait for it, up to ``patience`` seconds; whether the server's process was seen to go."""
    parting = Parting(connection, patience)
    while not parting.step(_ready([parting])):
        pass
    return parting.gone


def _steps(connection: Any, deadline: float) -> Steps:
    pgconn = connection.pgconn
    if pgconn.status == pq.ConnStatus.BAD:  # libpq has closed the socket
        connection.close()
        cancel = connection.canceller if is_cut_off(connection) else None
        if cancel is not None:
            yield from cancel.send(deadline)
        if (ear := getattr(connection, "ear", None)) is None:
            # It broke, and nothing can be heard of it any more. What is cancelled finds nobody to tell, and ends.
            return cancel is None or cancel.heard
        connection.ear = None
        with ear:
            return (yield from _until_gone(ear, cancel, deadline))
    with listen(pgconn) as ear:
        if pgconn.status != pq.ConnStatus.OK and not _is_connected(ear):
            connection.is_heard = True
            connection.close()  # a connect that nobody has heard of yet
            return True
        cancel = Cancel(pgconn) if is_busy(connection) else None
        if cancel is not None:
            yield from cancel.send(deadline)
        connection.is_heard = True
        connection.close()  # with a good-bye, which the server reads when it has done with the statement
        return (yield from _until_gone(ear, cancel, deadline))


def listen(pgconn: Any) -> socket.socket:
    """A descriptor of our own, with which the socket outlives libpq's, and can tell when the other end is closed."""
    return socket.socket(fileno=socket.dup(pgconn.socket))


def _until_gone(ear: socket.socket, cancel: Cancel | None, deadline: float) -> Steps:
    """Whether the server is heard closing its end; what runs is cancelled again meanwhile."""
    with contextlib.suppress(OSError):
        ear.shutdown(socket.SHUT_WR)  # in the middle of a COPY it doesn't understand a good-bye
    ear.setblocking(False)
    sent = monotonic()
    while not (gone := _hears_the_end(ear)) and (now := monotonic()) < deadline:
        if cancel is not None and now - sent >= AGAIN:
            yield from cancel.send(deadline)
            sent = monotonic()
        else:
            # After a time-out of TCP's there is nothing more to hear.
            yield None if gone is None else Wish(ear.fileno())
    return bool(gone)


def _is_connected(ear: socket.socket) -> bool:
    try:
        ear.getpeername()
    except OSError:
        return False
    return True


def _hears_the_end(ear: socket.socket) -> bool | None:
    """Throw away what still comes, without which the server could not go on; True when its end is closed, None if deaf."""
    try:
        while ear.recv(65536):
            pass
    except BlockingIOError:
        return False
    except (ConnectionResetError, BrokenPipeError):
        return True
    except OSError:
        return None
    return True


def _ready(under_way: Iterable[_Walk]) -> frozenset[int]:
    return ready(parting.wish for parting in under_way)


class Closer:
    """The thread that parts from connections, of however many pools, all at a time."""

    def __init__(self) -> None:
        # A finaliser may hand over a connection in the middle of another's put().
        self._handed_over: SimpleQueue[_Walk] = SimpleQueue()
        self._thread: Thread | None = None
        self._lock = Lock()

    def start(self) -> None:
        with self._lock:
            if self._thread is None:
                self._thread = Thread(target=self._run, name="poolmgr-closer", daemon=True)
                self._thread.start()

    def hand_over(self, parting: _Walk) -> None:
        self._handed_over.put(parting)

    def _run(self) -> None:
        under_way: list[_Walk] = []
        while True:
            under_way += self._arrived(wait=not under_way)
            ready = _ready(under_way)
            under_way = [parting for parting in under_way if not parting.step(ready)]

    def _arrived(self, wait: bool) -> list[_Walk]:
        arrived: list[_Walk] = []
        with contextlib.suppress(Empty):
            while True:
                arrived.append(self._handed_over.get(block=wait and not arrived))
        return arrived


#: By process id: a child of a fork has another than its parent.
_closers: dict[int, Closer] = {}


def closer() -> Closer:
    """This process's; whoever opens a pool starts it."""
    pid = os.getpid()
    return _closers.get(pid) or _closers.setdefault(pid, Closer())
