"""One thread of the process calls what is due: the rounds of all pools, tries again, the moments of leases."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from contextlib import suppress
from heapq import heappop, heappush
from itertools import count
from queue import Empty, SimpleQueue
from threading import RLock, Thread
from time import monotonic
from weakref import WeakMethod

logger = logging.getLogger("poolmgr.pool")

_Entry = tuple[float, int, "WeakMethod[Callable[[], object]]"]


class Ticker:
    """What it calls must not wait. Methods are held weakly, so that a pool that is dropped ends by itself."""

    def __init__(self) -> None:
        # Told of without a lock: a finaliser, which wants a pool's, may come in the middle of it, and another thread that
        # has the pool's be about to tell.
        self._told: SimpleQueue[_Entry] = SimpleQueue()
        self._numbers = count()
        self._thread: Thread | None = None
        self._starting = RLock()

    def at(self, due: float, method: Callable[[], object]) -> None:
        """Call ``method``, a bound one, at ``due`` on the monotonic clock, or soon after."""
        self._told.put((due, next(self._numbers), WeakMethod(method)))
        if self._thread is None:
            self._start()

    def _start(self) -> None:
        with self._starting:
            if self._thread is None:
                self._thread = Thread(target=self._run, name="poolmgr-ticker", daemon=True)
                self._thread.start()

    def _run(self) -> None:
        due: list[_Entry] = []
        while True:
            with suppress(Empty):
                heappush(due, self._told.get(timeout=max(0.0, due[0][0] - monotonic()) if due else None))
                continue
            if (method := heappop(due)[2]()) is not None:
                try:
                    method()
                except Exception:
                    logger.exception("what was due failed")
            del method


#: By process id: a child of a fork has another than its parent.
_tickers: dict[int, Ticker] = {}


def ticker() -> Ticker:
    """This process's."""
    pid = os.getpid()
    return _tickers.get(pid) or _tickers.setdefault(pid, Ticker())
