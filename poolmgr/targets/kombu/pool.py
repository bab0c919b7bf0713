"""BrokerPool: the port on the pool that a Celery application sends its messages with."""

from __future__ import annotations

import logging
from threading import Condition, RLock
from time import monotonic
from typing import Any
from weakref import WeakSet

import kombu.pools

from poolmgr.exceptions import ConfigurationError
from poolmgr.metrics.phrases import phrase
from poolmgr.metrics.snapshot import PoolSnapshot
from poolmgr.pools import registry
from poolmgr.pools.allowance import Allowance
from poolmgr.pools.checkouts import Checkout
from poolmgr.pools.core.ticker import ticker
from poolmgr.pools.desired import Desired
from poolmgr.pools.forks import on_fork
from poolmgr.pools.plan import Action, Plan, plan
from poolmgr.pools.port import Load, Pool, Recycled
from poolmgr.pools.spec import PoolSpec
from poolmgr.targets.kombu import rounds, view
from poolmgr.targets.kombu.applications import address_of
from poolmgr.targets.kombu.kind import KOMBU
from poolmgr.targets.kombu.resources import Connections, Producers
from poolmgr.targets.kombu.watching import Watching

logger = logging.getLogger("poolmgr.pool")

_all: WeakSet[BrokerPool] = WeakSet()
#: What a forked child inherited: kept for ever, since to collect a connection may say good-bye for its parent.
_inherited: list[Any] = []


class BrokerPool(Watching):
    """Watches and sizes kombu's pool. Its connections are opened, used and given back by kombu's own words."""

    is_limited = False

    def __init__(self, target: str, app: Any, bootstrap: PoolSpec) -> None:
        super().__init__(target, bootstrap, address_of(app.connection_for_write()))
        self.app = app
        self.opened = False
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
        ticker().at(monotonic() + rounds.INTERVAL, self._round)

    def attach(self) -> None:
        """Watch the pool that the application has now: kombu makes another after a reset of all its pools."""
        connections = self.app.pool
        before = getattr(connections, "watch", None)
        if before is self:
            return
        if before is not None and not before.retired:
            # kombu has one pool for each broker, whose size can't be two.
            self.problem = phrase(
                "its application shares kombu's pool with that of '%(other)s': declare one of them", other=before.target
            )
            return
        self.problem = ""
        if before is not None:
            self.come_after(before)
        Connections.manage(connections, self)
        self.app.amqp.producer_pool.__class__ = Producers
        self.connections = connections
        self._follow()

    def _follow(self) -> None:
        if self.connections is None:
            return
        # Celery reads them where it makes a pool anew, passes the one on to whoever waits, and names both in its errors.
        self.app.conf.broker_pool_limit = self.spec.max_size
        self.app.conf.broker_pool_acquire_timeout = self.spec.connection_timeout
        self.connections.follow(self.spec.max_size)

    def retire(self) -> None:
        """Close what is idle now, and what is used as it returns. The application's next use opens others."""
        with self.lock:
            if self.retired:
                return
            self.retired = True
            self.generation += 1
        while self.connections is not None and (old := self.connections.take_old()) is not None:
            self.dispose(old)

    def close(self, timeout: float = 5.0) -> None:
        deadline = monotonic() + timeout
        self.retire()
        with self.changed:
            while self.leaving and (left := deadline - monotonic()) > 0:
                self.changed.wait(left)

    def disown(self) -> None:
        self.retired = True
        self.lock = RLock()
        self.changed = Condition(self.lock)
        self.held, self.leaving = {}, {}

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
        idle, used, leaving = self.figures()
        return Load(idle + used + leaving, used, self.pending)

    def pause(self) -> None:
        """Raises ``ConfigurationError``: this kind is never paused."""
        raise ConfigurationError(f"{self.target!r} can't be paused: {KOMBU.denies['pause']}")

    def resume(self) -> None:
        """Raises ``ConfigurationError``: this kind is never paused."""
        raise ConfigurationError(f"{self.target!r} can't be resumed: {KOMBU.denies['resume']}")

    def recycle(self, timeout: float = 30.0) -> Recycled:
        return rounds.recycle(self, timeout)

    def snapshot(self) -> PoolSnapshot:
        return view.snapshot(self)

    def find_checkout(self, name: str) -> Checkout | None:
        return view.checkout(self, name)

    # -- what happens by itself ---------------------------------------------------------------------------------------

    def _round(self) -> None:
        if self.retired:
            return
        try:
            rounds.look_after(self)
        except Exception:
            logger.exception("pool %r: housekeeping failed; it goes on in %s s", self.target, rounds.INTERVAL)
        finally:
            ticker().at(monotonic() + rounds.INTERVAL, self._round)


def _after_fork() -> None:
    # What kombu and Celery do after the forks that multiprocessing and billiard make.
    for each in list(_all):
        _inherited.append((each.connections, dict(kombu.pools.connections), dict(kombu.pools.producers)))
        kombu.pools.connections.clear()
        kombu.pools.producers.clear()
        each.app._after_fork()


on_fork(_after_fork)
