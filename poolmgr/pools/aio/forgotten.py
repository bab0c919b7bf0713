"""When a connection is forgotten that a task borrowed which has ended.

Another task may go on with it: what ``asyncio.wait_for()`` is given runs in a task of its own, and a client may keep its
connection for longer than the task that needed it first. It is forgotten when nothing is said on it and nobody who could
say something refers to it.
"""

from __future__ import annotations

import gc
import inspect
from collections.abc import Collection
from time import monotonic
from types import CellType
from typing import Any, NamedTuple

from poolmgr.pools.entry import Entry

#: Seconds for which nothing must have been said; twice as long after each look that finds somebody.
SILENT = 1.5


class _Noted(NamedTuple):
    epoch: int
    said: int
    since: float
    patience: float


class Silence:
    """What a pool has noted of connections whose borrowers have ended. Used by its rounds alone."""

    def __init__(self) -> None:
        self._noted: dict[Entry, _Noted] = {}

    def lasts(self, slot: Entry, said: int) -> bool:
        """Whether it is time to look who refers to ``slot``, on whose connection something was said so many times."""
        now = monotonic()
        noted = self._noted.get(slot)
        if noted is None or (noted.epoch, noted.said) != (slot.epoch, said):
            self._noted[slot] = _Noted(slot.epoch, said, now, SILENT)
            return False
        if now - noted.since < noted.patience:
            return False
        self._noted[slot] = noted._replace(since=now, patience=noted.patience * 2)
        return True

    def keep_only(self, slots: Collection[Entry]) -> None:
        self._noted = {slot: noted for slot, noted in self._noted.items() if slot in slots}


#: What holds on behalf of another: an instance's attributes, a variable that inner functions share, what a variable lists.
_BETWEEN = (dict, CellType, list, tuple, set)


def users_of(conn: Any) -> list[Any]:
    """Who refers to a connection: suspended coroutines, and instances. It takes a walk through all objects there are."""
    found = []
    for each in gc.get_referrers(conn):
        found += gc.get_referrers(each) if isinstance(each, _BETWEEN) else [each]
    return found


def is_suspended(user: Any) -> bool:
    """Whether it is code that may go on with what it has. A generator that runs at this moment is whoever looks."""
    if inspect.isgenerator(user):
        return not user.gi_running
    return inspect.iscoroutine(user) or inspect.isasyncgen(user)
