"""BrokerPool: the port on the pool that a Celery application sends its messages with."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable
from threading import Condition, RLock
from time import monotonic
from typing import Any
from weakref import WeakSet

import kombu.pools

from poolmgr.exceptions import CheckoutError, ConfigurationError
from poolmgr.metrics.histogram import Histogram
from poolmgr.metrics.history import History
from poolmgr.metrics.snapshot import PoolSnapshot
from poolmgr.pools import registry
from poolmgr.pools.allowance import Allowance
from poolmgr.pools.core.ticker import ticker
from poolmgr.pools.core.workers import Workers
from poolmgr.pools.desired import Desired
from poolmgr.pools.forks import on_fork
from poolmgr.pools.owners import is_alive, name_of, owner_function, stack_of
from poolmgr.pools.plan import Action, Plan, plan
from poolmgr.pools.port import Load, Pool, Recycled
from poolmgr.pools.spec import PoolSpec
from poolmgr.targets.kombu import view
from poolmgr.targets.kombu.applications import address_of
from poolmgr.targets.kombu.errors import PoolExhausted
from poolmgr.targets.kombu.kind import KOMBU
from poolmgr.targets.kombu.resources import Connections, Held, Producers, may_give

logger = logging.getLogger("poolmgr.pool")

#: Seconds between looks for who ended without giving back, and for leaks.
_INTERVAL = 1.0


_all: WeakSet[BrokerPool] = WeakSet()
#: What a forked child inherited: kept for ever, since to collect a connection may say good-bye for its parent.
_inherited: list[Any] = []


class BrokerPool:
    """Watches and sizes kombu's pool. Its connections are opened, used and given back by kombu's own words."""

    kind = KOMBU.name
    problem = ""
    paused = False
    is_limited = False

    def __init__(self, target: str, app: Any, bootstrap: PoolSpec) -> None:
        self.target = target
        self.app = app
        self.bootstrap = self.spec = bootstrap
        self.desired = Desired(bootstrap)
        self.address = address_of(app.connection_for_write())
        self.opened = self.retired = False
        self.lock = RLock()
        self.changed = Condition(self.lock)
        self.connections: Any = None  # the application's pool, once it is open
        self.held: dict[Any, Held] = {}
        self.asking = 0
        self.generation = 1
        self.wait_time, self.use_time = Histogram(), Histogram()
        self.counts: Counter[str] = Counter()
        self.history = History()
        self._reported: dict[Any, Held] = {}
        self._owner = owner_function()
        self._closers = Workers("poolmgr-broker-closer", 2)
        registry.born(self)
        _all.add(self)

    # -- the port -----------------------------------------------------------------------------------------------------

    def begin(self, desired: Desired | None, allowance: Allowance | None, predecessor: Pool | None) -> None:
        if desired is not None:
            self.desired, self.spec = desired, desired.spec

    def open(self) -> None:
        with self.lock:
            if self.opened or self.retired:
                return
            self.opened = True
        self.attach()
        ticker().at(monotonic() + _INTERVAL, self._round)

    def attach(self) -> None:
        """Watch the pool that the application has now: kombu makes another after a reset of all its pools."""
        connections = self.app.pool
        if connections is self.connections and connections.watch is self:
            return
        connections.watch = self
        connections.__class__ = Connections
        self.app.amqp.producer_pool.__class__ = Producers
        self.connections = connections
        self._follow()

    def _follow(self) -> None:
        # Celery reads them where it makes a pool anew, passes the one on to whoever waits, and names both in its errors.
        self.app.conf.broker_pool_limit = self.spec.max_size
        self.app.conf.broker_pool_acquire_timeout = self.spec.connection_timeout
        if self.connections is not None:
            self.connections.follow(self.spec.max_size)

    def retire(self) -> None:
        """Close what is idle now, and what is used as it returns. The application's next use opens others."""
        if not self.retired:
            self.retired = True
            self._renew()

    def close(self, timeout: float = 5.0) -> None:
        self.retire()

    def disown(self) -> None:
        self.retired = True
        self.lock = RLock()
        self.changed = Condition(self.lock)
        self.held = {}

    def apply(self, desired: Desired) -> Plan:
        with self.lock:
            made = plan(self.spec, desired.spec)
            self.desired, self.spec = desired, desired.spec
        if made.action is not Action.KEEP:
            self._follow()
            logger.info(
                "pool %r follows %s revision %s: %s", self.target, desired.profile, desired.revision, made.reason
            )
        return made

    def limit(self, allowance: Allowance | None) -> None:
        """Nothing: no budget counts a broker's connections."""

    def load(self) -> Load:
        connections = self.connections
        if connections is None:
            return Load(0, 0, 0)
        used = len(connections._dirty)
        return Load(used + connections.idle(), used, self.pending)

    def pause(self) -> None:
        """Raises ``ConfigurationError``: this kind is never paused."""
        raise ConfigurationError(f"{self.target!r} can't be paused: {KOMBU.denies['pause']}")

    def resume(self) -> None:
        """Raises ``ConfigurationError``: this kind is never paused."""
        raise ConfigurationError(f"{self.target!r} can't be resumed: {KOMBU.denies['resume']}")

    def recycle(self, timeout: float = 30.0) -> Recycled:
        deadline = monotonic() + timeout
        with self.changed:
            old = dict(self.held)
            replaced = self._renew()

            def left() -> int:
                return sum(self.held.get(each) is held for each, held in old.items())

            while (remaining := left()) and (seconds := deadline - monotonic()) > 0:
                self.changed.wait(seconds)
            return Recycled(replaced + len(old) - remaining, remaining)

    def snapshot(self) -> PoolSnapshot:
        return view.snapshot(self)

    # -- what kombu's pools tell --------------------------------------------------------------------------------------

    @property
    def patience(self) -> float:
        return self.spec.connection_timeout

    @property
    def pending(self) -> int:
        """Who asks while something is there is about to get it."""
        return self.asking if self.connections is not None and self.connections.is_empty() else 0

    def waiting(self, more: int) -> None:
        with self.lock:
            self.asking += more

    def got(self, connection: Any, asked: float) -> None:
        now = monotonic()
        with self.lock:
            self.held[connection] = Held(self._owner(), now)
            self.wait_time.add(now - asked)

    def failed(self, waited: float) -> CheckoutError:
        """The error of a request that got nothing within ``waited`` seconds."""
        with self.lock:
            self.counts["timeouts"] += 1
        return PoolExhausted(view.exhausted(self, waited), self.target)

    def returned(self, connection: Any) -> bool:
        giver = self._owner()
        with self.changed:
            held = self.held.get(connection)
            if held is not None and not may_give(giver, connection, held.owner):
                return False
            if held is not None:
                del self.held[connection]
                self.use_time.add(monotonic() - held.since)
                self.changed.notify_all()
        return True

    def made(self, connection: Any) -> None:
        with self.lock:
            connection.generation = self.generation
            self.counts["created"] += 1

    def dispose(self, close: Callable[[], object]) -> None:
        with self.lock:
            self.counts["closed"] += 1
        self._closers.run(close)

    # -- what happens by itself ---------------------------------------------------------------------------------------

    def _renew(self) -> int:
        with self.lock:
            self.generation += 1
        return 0 if self.connections is None else int(self.connections.renew_idle())

    def _round(self) -> None:
        if self.retired:
            return
        now = monotonic()
        with self.lock:
            self.history.note(now, self.wait_time, self.use_time, self.counts)
            held = dict(self.held)
        for connection, of in held.items():
            if not is_alive(of.owner):
                self._take_back(connection, of)
        self._report_leaks(held, now)
        ticker().at(now + _INTERVAL, self._round)

    def _take_back(self, connection: Any, of: Held) -> None:
        with self.lock:
            if self.held.get(connection) is not of:
                return
            self.counts["reclaimed"] += 1
            connection.generation = 0
        logger.warning(
            "pool %r: a connection is taken back: %s ended without giving it back", self.target, name_of(of.owner)
        )
        self.connections.release(connection)

    def _report_leaks(self, held: dict[Any, Held], now: float) -> None:
        threshold = self.spec.leak_threshold
        late = {each: of for each, of in held.items() if threshold and now - of.since > threshold}
        for each, of in late.items():
            if self._reported.get(each) is not of:
                with self.lock:
                    self.counts["leaks"] += 1
                logger.warning(
                    "pool %r: %s has held a connection for %.1f s (leak_threshold %g s); it is now at\n%s",
                    self.target,
                    name_of(of.owner),
                    now - of.since,
                    threshold,
                    stack_of(of.owner) or "(no stack)",
                )
        self._reported = late


def _after_fork() -> None:
    # What kombu and Celery do after the forks that multiprocessing and billiard make.
    for each in list(_all):
        _inherited.append((each.connections, dict(kombu.pools.connections), dict(kombu.pools.producers)))
        kombu.pools.connections.clear()
        kombu.pools.producers.clear()
        each.app._after_fork()


on_fork(_after_fork)
