"""What the parts of the core share: settings, connections, who waits, figures.

The law of the lock: everything here is read for decisions and written only with ``lock`` held, and nothing that may wait for
a socket, a thread or another lock than a waiter's runs under it. It is re-entrant, since the garbage collector may give a
connection back in the middle of a section that the same thread holds.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable
from math import inf
from random import random
from threading import Condition, RLock
from time import monotonic
from types import CodeType
from typing import Any

from poolmgr.metrics.histogram import Histogram
from poolmgr.metrics.history import History
from poolmgr.pools.allowance import Allowance
from poolmgr.pools.core.driver import Driver
from poolmgr.pools.core.slot import Place, Slot
from poolmgr.pools.core.workers import Workers
from poolmgr.pools.desired import Desired
from poolmgr.pools.labels import Label
from poolmgr.pools.misses import Misses
from poolmgr.pools.outage import Outage
from poolmgr.pools.owners import has_left, owner_function
from poolmgr.pools.port import Peers
from poolmgr.pools.spec import PoolSpec
from poolmgr.pools.uses import Uses

#: Connects and questions under way at once in a pool, and connections that are seen off.
_CONNECTORS, _CLOSERS = 3, 4
#: Part of ``max_lifetime`` by which connections differ, so that those that were opened together don't end so.
_SPREAD = 0.1
#: Seconds for which a failed connect tells of a server that it is away, and after which one that is under way does.
_JUST, _IN_VAIN = 3.0, 1.0
#: How many rounds must find the books wrong until they are set right.
ROUNDS = 3


class State:
    """``idle`` has the connection used last at its right end; ``living`` are all that the pool has not given up.

    ``places`` counts what the pool holds: living connections, connects under way (``connecting`` has when each began) and
    ``leaving``, the connections that were given up and whose server's end was not seen to go yet.
    """

    def __init__(self, kind: str, target: str, bootstrap: PoolSpec, driver: Driver, address: str = "") -> None:
        self.kind = kind
        self.target = target
        self.address = address
        self.bootstrap = bootstrap
        self.driver = driver
        self.opened = self.retired = self.paused = self.watched = False
        self.behind_pooler = False  # as the last connect found it
        self.lock = RLock()
        self.changed = Condition(self.lock)  # a connection was replaced or is gone

        self.idle: deque[Slot] = deque()
        self.out: set[Slot] = set()
        self.living: set[Slot] = set()
        self.waiting: deque[Place] = deque()
        self.places = 0
        self.connecting: list[float] = []
        self.renewing = 0  # connections that are gone, and whose heirs are not there yet
        self.leaving: set[Slot] = set()
        self.generation = 1

        self.last_error: Exception | None = None
        self.last_error_at = 0.0
        self.retry_at = 0.0  # not before that is a connect tried again
        self.fill_at = 0.0  # and not before that one that nobody waits for
        self.failing_since = 0.0
        self.wrong_query = ""  # a validation query that fails on every connection
        self.called = False  # somebody who doesn't wait would like a connect to be tried
        self.outage = Outage(address or "the server")

        self.allowance: Allowance | None = None
        self.lapses = inf  # when the lease does, by which this pool holds what it holds
        self.follow(Desired(bootstrap))

        self.predecessor: State | None = None  # a closed pool of the same target that has connections still
        self.heir: Callable[[], object] | None = None  # called when this one, which is closed, holds less
        self.problem = ""
        self.is_patient = True  # whether requests wait for a server that is away; else they fail with the connect
        self.peers: Peers | None = None  # the others of the same target in this process

        self.wait_time, self.use_time, self.create_time = Histogram(), Histogram(), Histogram()
        self.uses = Uses()
        self.counts: Counter[str] = Counter()
        self.misses = Misses()
        self.history = History()
        self.unaccounted: deque[int] = deque(maxlen=ROUNDS)  # what the last rounds have found wrong with the books
        self.stray: dict[Slot, int] = {}
        self.current_owner = owner_function()
        self.workers = Workers("poolmgr-connector", _CONNECTORS)
        self.closers = Workers("poolmgr-core-closer", _CLOSERS)

    def grow(self) -> None:
        """Begin the connects that are wanted and that there is room for. The pool's, which stands on its parts."""
        raise NotImplementedError

    def has_left(self, slot: Slot, owner: Any, codes: dict[int, CodeType]) -> bool:
        """Whether ``owner`` will not give this connection back, given what ``owners.running()`` returned."""
        return has_left(slot, owner, codes)

    def is_dropped(self, slot: Slot) -> bool:
        """A second look at a connection that nobody refers to any more, by the number of those who do."""
        return True

    # Each is called with the lock held.

    def follow(self, desired: Desired) -> None:
        """Take settings over."""
        self.desired, self.spec = desired, desired.spec
        only_looks = self.spec.validation == "socket"
        #: Seconds of idleness below which a borrower gets what looks well; none where more is asked each time.
        self.trusted = (self.spec.validate_after_idle or inf) if only_looks else -inf
        self._note_most()

    def allow(self, allowance: Allowance | None) -> None:
        """Take a lease over."""
        self.allowance = allowance
        self.lapses = inf if allowance is None else allowance.lapses
        self._note_most()

    def _note_most(self) -> None:
        """Once and not at each return."""
        most = self.spec.max_size
        self.most_alone = most if self.allowance is None else min(most, self.allowance.most)

    @property
    def most(self) -> int:
        """How many connections there may be by the settings, the lease, and what a closed pool before has still."""
        if self.retired:
            return 0
        return self.most_alone if self.predecessor is None else max(0, self.most_alone - self.left_over())

    @property
    def least(self) -> int:
        """How many connections are kept warm."""
        shared = None if self.allowance is None else self.allowance.least
        return self.spec.min_size if shared is None else min(self.spec.min_size, shared)

    def is_away(self, now: float) -> bool:
        """Whether nobody need wait for the server: it is overdue, and somebody has only just tried, or tries in vain."""
        tried = now - self.last_error_at < _JUST or (bool(self.connecting) and now - min(self.connecting) >= _IN_VAIN)
        return tried and self.is_overdue(now)

    def is_overdue(self, now: float) -> bool:
        """Whether the server could not be reached for as long as anybody waits, and nothing of it is left."""
        lasted = now - self.failing_since if self.failing_since else 0.0
        patience = self.spec.connection_timeout if self.is_patient else 0.0
        return bool(self.failing_since) and lasted >= patience and not self.living

    def left_over(self) -> int:
        """Connections of closed pools of the same target that are not gone yet, in whose way this one's are."""
        if (before := self.predecessor) is None:
            return 0
        over = before.retired  # asked first: until then it may grow
        # Read without its lock: the figure never grows, so that one that is old by now lets nobody hold more.
        if not (left := before.places + before.left_over()) and over:
            self.predecessor = None
        return left

    @property
    def present(self) -> int:
        """Places that are not about to come free."""
        return self.places - len(self.leaving)

    def hand_on(self, slot: Slot, now: float) -> None:
        """Give ``slot`` to the first that waits, or keep it as idle since ``now``."""
        if self.waiting and not self.paused and now < self.lapses:
            place = self.waiting.popleft()
            self.lend(slot, place.owner, place.label, now)
            place.serve(slot)
            return
        slot.idle_since = now
        self.idle.append(slot)

    def lend(self, slot: Slot, owner: object, label: Label | None, now: float) -> None:
        slot.owner = owner
        slot.label = label
        slot.since = now
        self.out.add(slot)

    def is_old(self, slot: Slot, now: float) -> bool:
        """Whether a connection has outlived ``max_lifetime`` or a recycle."""
        return slot.generation != self.generation or slot.expires <= now

    def set_expiry(self, slot: Slot) -> None:
        lifetime = self.spec.max_lifetime
        slot.expires = slot.born + lifetime * (1 - _SPREAD * random()) if lifetime else inf

    def missed(self, waited: float) -> None:
        """A checkout got no connection within the seconds that it ``waited``; takes the lock."""
        with self.lock:
            self.counts["timeouts"] += 1
            self.wait_time.add(waited)
            self.misses.note(monotonic())

    def count(self, **events: int) -> None:
        """Add to the counters; takes the lock."""
        with self.lock:
            for name, number in events.items():
                self.counts[name] += number

    def take_back(self, slot: Slot) -> bool:
        """End a checkout; False where it had ended before. Takes the lock."""
        with self.lock:
            if slot not in self.out:
                return False
            slot.owner = None
            slot.epoch += 1
            self.out.discard(slot)
            now = monotonic()
            self.use_time.add(now - slot.since)
            self.uses.end(slot, now)
            return True
