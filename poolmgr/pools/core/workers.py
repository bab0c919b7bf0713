"""Threads for what may wait, so that neither borrowers nor the ticker do."""

from __future__ import annotations

import logging
from collections.abc import Callable
from queue import Empty, SimpleQueue
from threading import RLock, Thread, current_thread

logger = logging.getLogger("poolmgr.pool")

#: Seconds without work after which a thread ends.
_REST = 10.0


def _nothing() -> None:
    """Work for who is to see that there is none."""


class Workers:
    """Up to ``most`` daemon threads, started on demand. They hold nothing of the pool's but the work they are given."""

    def __init__(self, name: str, most: int) -> None:
        self._name = name
        self._most = most
        self._work: SimpleQueue[Callable[[], object]] = SimpleQueue()
        # A finaliser may hand over work in the middle of another's run().
        self._lock = RLock()
        self._threads: set[Thread] = set()
        self._idle = 0
        self._rest = _REST

    def run(self, work: Callable[[], object]) -> None:
        """Have a thread do ``work``, soon."""
        with self._lock:
            self._work.put(work)
            if self._idle >= self._work.qsize():
                return
        self.start()

    def start(self) -> None:
        """Another thread, where there may be one more. One that was not started after all, by an exception in between, is
        not counted."""
        thread = Thread(target=self._run, name=self._name, daemon=True)
        with self._lock:
            self._threads = {each for each in self._threads if each.is_alive()}
            if len(self._threads) >= self._most:
                return
            thread.start()
            self._threads.add(thread)

    def dismiss(self) -> None:
        """From now on threads end as soon as there is no work."""
        with self._lock:
            self._rest = 0.0
            for _ in range(self._idle):
                self._work.put(_nothing)  # which wakes them

    def at_rest(self) -> bool:
        """Whether nobody is at any work. Work that waits for a thread that was never started gets one."""
        with self._lock:
            waits = not self._work.empty()
            rests = not waits and self._idle >= sum(each.is_alive() for each in self._threads)
        if waits:
            self.start()
        return rests

    def _run(self) -> None:
        while True:
            with self._lock:
                self._idle += 1
            try:
                work = self._work.get(timeout=self._rest) if self._rest else self._work.get_nowait()
            except Empty:
                with self._lock:
                    self._idle -= 1
                    if self._work.empty():
                        self._threads.discard(current_thread())
                        return
                continue
            with self._lock:
                self._idle -= 1
            try:
                work()
            except Exception:
                logger.exception("%s: a piece of work failed", self._name)
            del work  # a thread that rests keeps no pool
