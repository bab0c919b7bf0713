"""A connection as the core knows it, and a place in the queue for one."""

from __future__ import annotations

from collections.abc import Iterable
from sys import getrefcount
from threading import Lock
from time import monotonic
from typing import Any

from poolmgr.pools.entry import Entry
from poolmgr.pools.labels import current_label


class Slot(Entry):
    """``conn`` is the library's connection, ``pool`` whose it is.

    ``born`` is when it was opened; ``referrers`` are the references that ``conn`` and the slot have while nobody borrows it.
    ``behind_pooler`` is, where another program is in between, of whose connections to the server nobody here knows.
    """

    __slots__ = ("behind_pooler", "born", "broken_off", "conn", "pool", "referrers")

    def __init__(self, conn: Any, pool: Any, fileno: int, pid: int, generation: int, now: float) -> None:
        super().__init__(fileno, pid, generation, now)
        self.conn = conn
        self.pool = pool
        self.born = now
        self.behind_pooler = False
        self.referrers = (0, 0)
        self.broken_off = -1  # the epoch in which a lease's end broke it off

    @property
    def named(self) -> str:
        """What the log calls it."""
        return str(self.pid or ("of a pooler" if self.behind_pooler else "(unknown)"))


def referrers(slots: Iterable[Slot]) -> list[tuple[int, int]]:
    """How many refer to each slot and its connection: each other, the pool, the library itself, and a borrower.

    Who is just being given one has the slot alone.
    """
    return [(getrefcount(slot.conn), getrefcount(slot)) for slot in slots]


class Place:
    """Somebody's place among those who wait, with a plain lock to wait at.

    Whoever takes it out of the queue, with the pool's lock held, is the only one to serve it or to fail it; who has stopped
    waiting takes it out themselves. ``since`` is when it was made; ``hurries`` when one more try is all that it waits for.
    """

    __slots__ = ("_gate", "error", "hurries", "label", "owner", "since", "slot")

    hurries: bool

    def __init__(self, owner: Any) -> None:
        self.owner = owner
        self.label = current_label()
        self.since = monotonic()
        self.slot: Slot | None = None
        self.error: Exception | None = None
        self._gate = Lock()
        self._gate.acquire()

    @property
    def has_waited(self) -> bool:
        """Whether its owner was served out of the queue, and did not find one that was idle."""
        return self.slot is not None

    def wait(self, timeout: float) -> bool:
        """Whether it was served or failed in time."""
        return self._gate.acquire(timeout=timeout)

    def serve(self, slot: Slot) -> None:
        self.slot = slot
        self._gate.release()

    def fail(self, error: Exception) -> None:
        self.error = error
        self._gate.release()
