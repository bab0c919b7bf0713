"""What the parts of a managed pool share: its settings, its connections that are checked out, its figures."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable
from math import inf
from threading import Condition, RLock
from time import monotonic
from typing import Any
from weakref import WeakSet

from poolmgr.metrics.histogram import Histogram
from poolmgr.metrics.history import History
from poolmgr.pools.aio.forgotten import Silence
from poolmgr.pools.allowance import Allowance
from poolmgr.pools.desired import Desired
from poolmgr.pools.misses import Misses
from poolmgr.pools.outage import Outage
from poolmgr.pools.spec import PoolSpec
from poolmgr.pools.uses import Uses
from poolmgr.targets.postgresql.connection import PooledConnection
from poolmgr.targets.postgresql.elastic import ElasticPool
from poolmgr.targets.postgresql.preparing import Preparation

#: How many rounds must find the books wrong until they are set right.
ROUNDS = 3


class PoolState:
    """``pool`` is psycopg_pool's, made elastic; figures and ``out``, the connections that are checked out, are guarded by
    its lock, whose law stands in elastic.py.
    """

    kind = "postgresql"
    pool: ElasticPool
    changed: Condition  # a connection was replaced
    current_owner: Callable[[], Any]
    #: Of this pool, a connection, the time now, and the borrower's seconds left (None: the profile's) what is wrong with it.
    fault: Callable[[PoolState, PooledConnection, float, float | None], str]
    trusted: float  # seconds of idleness below which all that ``fault`` does is to look at the socket

    def __init__(
        self, target: str, bootstrap: PoolSpec, configure: Callable[[Any], None] | None = None, address: str = ""
    ) -> None:
        self.target = target
        self.address = address
        self.bootstrap = bootstrap
        self.desired = Desired(bootstrap)
        self.spec = bootstrap
        self.problem = ""
        self.opened = self.retired = self.watched = False
        self.predecessor: PoolState | None = None  # a closed pool of the same target that has connections out still
        self.configure = configure
        self.out: set[PooledConnection] = set()
        self.wait_time, self.use_time, self.create_time = Histogram(), Histogram(), Histogram()
        self.uses = Uses(splits=True)
        self.counts: Counter[str] = Counter()
        self.misses = Misses()
        self.replacing = 0  # connections that are about to be replaced, or are and not yet counted
        self.pins: Counter[str] = Counter()
        self.history = History()
        self.unaccounted: deque[int] = deque(maxlen=ROUNDS)  # what the last rounds have found wrong with the books
        self.in_vain: deque[bool] = deque(maxlen=ROUNDS)
        self.silence = Silence()
        self.preparations: set[Preparation] = set()  # of connections that are new or cleaned
        self.outage = Outage(address or "the server")
        self.allowance: Allowance | None = None
        self.broken_off: WeakSet[PooledConnection] = WeakSet()  # used beyond the lease; their borrowers don't know yet
        self.lapses = inf  # when the lease does, by which this pool holds what it holds
        self.refused_at = 0.0  # when the site's own check has last refused a fresh connection
        self.told_traces: set[str] = set()  # reasons of pins that the log has told of, behind a pooler
        self.wrong_query = ""  # a validation query that fails on every connection

    def use(self, pool: ElasticPool) -> None:
        self.pool = pool
        self.use_lock(pool._lock)

    def use_lock(self, lock: RLock) -> None:
        self._lock = lock
        self.changed = Condition(lock)

    def allow(self, allowance: Allowance | None) -> None:
        """Take a lease over. Called with the lock held, or before anybody knows of the pool."""
        self.allowance = allowance
        self.lapses = inf if allowance is None else allowance.lapses
        self.pool.ends = inf if allowance is None else allowance.ends

    @property
    def ended(self) -> bool:
        """Whether it is closed, and nobody has a connection of it any more."""
        return self.pool._closed and self.retired and not self.out

    def missed(self, waited: float) -> None:
        """A checkout got no connection within the seconds that it ``waited``."""
        with self._lock:
            self.counts["timeouts"] += 1
            self.wait_time.add(waited)
            self.misses.note(monotonic())

    def count(self, **events: int) -> None:
        """Add to the counters."""
        with self._lock:
            for name, number in events.items():
                self.counts[name] += number
