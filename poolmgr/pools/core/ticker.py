"""One thread of the process calls what is due: the rounds of all pools, tries again, the moments of leases."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from heapq import heappop, heappush
from itertools import count
from threading import Condition, RLock, Thread
from time import monotonic
from weakref import WeakMethod

logger = logging.getLogger("poolmgr.pool")

_Entry = tuple[float, int, "WeakMethod[Callable[[], object]]"]


class Ticker:
    """What it calls must not wait. Methods are held weakly, so that a pool that is dropped ends by itself."""

    def __init__(self) -> None:
        self._due: list[_Entry] = []
        self._numbers = count()
        self._changed = Condition(RLock())
        self._thread: Thread | None = None

    def at(self, due: float, method: Callable[[], object]) -> None:
        """Call ``method``, a bound one, at ``due`` on the monotonic clock, or soon after."""
        with self._changed:
            heappush(self._due, (due, next(self._numbers), WeakMethod(method)))
            first, self._thread = self._thread is None, self._thread or self._new_thread()
            if not first and self._due[0][0] == due:
                self._changed.notify()
        if first:
            self._thread.start()

    def _new_thread(self) -> Thread:
        return Thread(target=self._run, name="poolmgr-ticker", daemon=True)

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._due or (left := self._due[0][0] - monotonic()) > 0:
                    self._changed.wait(left if self._due else None)
                method = heappop(self._due)[2]()
            if method is not None:
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
