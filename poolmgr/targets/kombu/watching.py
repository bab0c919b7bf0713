"""What is known of a pool of kombu's by what it tells: who holds and who waits, what is being closed, figures."""

from __future__ import annotations

import logging
from collections import Counter
from functools import partial
from itertools import count
from threading import Condition, RLock
from time import monotonic
from typing import Any, NamedTuple

from poolmgr.exceptions import CheckoutError
from poolmgr.metrics.histogram import Histogram
from poolmgr.metrics.history import History
from poolmgr.pools import waits
from poolmgr.pools.core.ticker import ticker
from poolmgr.pools.core.workers import Workers
from poolmgr.pools.desired import Desired
from poolmgr.pools.labels import current_label
from poolmgr.pools.misses import Misses
from poolmgr.pools.owners import owner_function
from poolmgr.pools.spec import PoolSpec
from poolmgr.pools.uses import Uses
from poolmgr.targets.kombu import view
from poolmgr.targets.kombu.errors import PoolExhausted, diagnose
from poolmgr.targets.kombu.holding import Held, may_give
from poolmgr.targets.kombu.kind import KOMBU

logger = logging.getLogger("poolmgr.pool")

#: The longest that a place waits for the broker to close its end, in seconds; less where borrowers have less patience.
_FAREWELL = 5.0
_PART_OF_TIMEOUT = 0.25
#: Seconds beyond that, in which who closes a connection is done by itself.
_OVERDUE = 0.1


_numbers = count(1)


class Leaving(NamedTuple):
    """A connection that is being closed: until when that may take, and whether it is from before the last recycle."""

    deadline: float
    is_old: bool


class Watching:
    """A ``Watch`` of kombu's pools (``resources.py``). The lock is taken before a pool's mutex, and never the other way."""

    kind = KOMBU.name
    problem = ""
    paused = retired = False

    def __init__(self, target: str, bootstrap: PoolSpec, address: str) -> None:
        self.target = target
        self.address = address
        self.bootstrap = self.spec = bootstrap
        self.desired = Desired(bootstrap)
        self.lock = RLock()
        self.changed = Condition(self.lock)  # a connection was given back or is gone
        self.connections: Any = None  # the application's pool, once it is open
        self.held: dict[Any, Held] = {}
        self.leaving: dict[Any, Leaving] = {}
        self.asking: list[float] = []  # since when
        self.generation = 1
        self.last_error, self.last_error_at = "", 0.0
        self.wait_time, self.use_time, self.create_time = Histogram(), Histogram(), Histogram()
        self.uses = Uses()
        self.counts: Counter[str] = Counter()
        self.misses = Misses()
        self.history = History()
        self.reported: dict[Any, Held] = {}  # leaks
        self.closers = Workers("poolmgr-broker-closer", 2)
        self._owner = owner_function()

    def come_after(self, before: Watching) -> None:
        """Know what ``before``, which is closed, knows of who holds what."""
        with before.lock:
            self.held, self.generation = before.held, before.generation

    def figures(self) -> tuple[int, int, int]:
        """Connections that are idle, used, and being closed."""
        return (0, 0, 0) if self.connections is None else self.connections.figures()

    # -- what kombu's pools tell --------------------------------------------------------------------------------------

    @property
    def patience(self) -> float:
        return self.spec.connection_timeout

    @property
    def farewell(self) -> float:
        return min(_FAREWELL, self.spec.connection_timeout * _PART_OF_TIMEOUT)

    @property
    def pending(self) -> int:
        """Who asks while something is there is about to get it."""
        return len(self.asking) if self.connections is not None and self.connections.is_empty() else 0

    def asks(self, since: float) -> None:
        with self.lock:
            self.asking.append(since)

    def asks_no_more(self, since: float) -> None:
        with self.lock:
            self.asking.remove(since)

    def got(self, connection: Any, asked: float, has_waited: bool) -> None:
        now = monotonic()
        with self.lock:
            self.held[connection] = Held(self._owner(), current_label(), now, next(_numbers))
            self.wait_time.add(now - asked)
        if has_waited:
            waits.tell(self.target, asked)

    def failed(self, waited: float) -> CheckoutError:
        """The error of a request that got nothing within ``waited`` seconds."""
        with self.lock:
            self.counts["timeouts"] += 1
            self.wait_time.add(waited)
            self.misses.note(monotonic())
        error = PoolExhausted(view.exhausted(self, waited), self.target)
        waits.tell(self.target, monotonic() - waited, error)
        return error

    def returned(self, connection: Any) -> bool:
        giver = self._owner()
        with self.changed:
            held = self.held.get(connection)
            if held is None or not may_give(giver, connection, held.owner):
                return False
            del self.held[connection]
            self.use_time.add(lasted := monotonic() - held.since)
            self.uses.add((held.label, lasted, 0.0, 0.0, None, True))
            self.changed.notify_all()
        return True

    def forget(self, pool: Any) -> None:
        with self.changed:
            self.held = {each: held for each, held in self.held.items() if each._pool is not pool}
            self.changed.notify_all()

    def established(self, seconds: float | None) -> None:
        with self.lock:
            self.counts["created"] += 1
            self.last_error, self.last_error_at = "", 0.0
            if seconds is not None:
                self.create_time.add(seconds)

    def refused(self, error: Exception) -> None:
        sentence = diagnose(error).sentence
        with self.lock:
            self.counts["create_errors"] += 1
            self.last_error, self.last_error_at = sentence, monotonic()

    def ended(self) -> None:
        with self.lock:
            self.counts["closed"] += 1

    # -- closing ------------------------------------------------------------------------------------------------------

    def dispose(self, connection: Any) -> None:
        deadline = monotonic() + self.farewell
        with self.lock:
            self.leaving[connection] = Leaving(deadline, connection.generation != self.generation)
        self.closers.run(partial(self._see_off, connection, deadline))
        ticker().at(deadline + _OVERDUE, self._free_overdue)

    def _see_off(self, connection: Any, deadline: float) -> None:
        is_gone = False
        try:
            is_gone = connection.part(deadline)
        finally:
            self._gone(connection, is_gone)

    def _gone(self, connection: Any, is_gone: bool) -> None:
        with self.changed:
            if (left := self.leaving.pop(connection, None)) is None:
                return
            self.counts["renewed"] += left.is_old
            self.counts["left_behind"] += not is_gone
            connection._pool.free()
            self.changed.notify_all()

    def _free_overdue(self) -> None:
        now = monotonic()
        with self.lock:
            overdue = [each for each, of in self.leaving.items() if of.deadline < now]
        for each in overdue:
            logger.warning(
                "pool %r: the broker did not close its end of a connection in time; its place is used again",
                self.target,
            )
            each.hang_up()
            self._gone(each, is_gone=False)
