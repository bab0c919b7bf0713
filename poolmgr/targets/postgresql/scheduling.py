"""What a pool has to do later, told from wherever somebody is, also from a finaliser."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import suppress
from heapq import heappop, heappush
from queue import Empty, SimpleQueue
from time import monotonic
from typing import Any

from psycopg_pool._task import Task
from psycopg_pool.sched import Scheduler

logger = logging.getLogger("poolmgr.pool")


class Schedule(Scheduler):
    """psycopg_pool's, but whoever tells it of a task waits for no lock.

    The garbage collector may be at work in the middle of that, and close a cursor, whose connection goes back: then one
    thread would have psycopg_pool's lock and want the pool's, which another has that wants psycopg_pool's.
    """

    def __init__(self) -> None:
        # Without psycopg_pool's own, which makes the locks.
        self._told: SimpleQueue[Task] = SimpleQueue()

    def enterabs(self, time: float, action: Callable[[], Any] | None) -> Task:
        """As psycopg_pool has it."""
        self._told.put(task := Task(time, action))
        return task

    def run(self) -> None:
        """As psycopg_pool has it: call what is due, until a task without an action is."""
        due: list[Task] = []
        while True:
            pause = min(self.EMPTY_QUEUE_TIMEOUT, due[0].time - monotonic()) if due else self.EMPTY_QUEUE_TIMEOUT
            with suppress(Empty):
                heappush(due, self._told.get(timeout=max(0.0, pause)))
                continue
            if not due or due[0].time > monotonic():
                continue
            if (action := heappop(due).action) is None:
                return
            try:
                action()
            except Exception:
                logger.exception("what was due failed")
            del action
