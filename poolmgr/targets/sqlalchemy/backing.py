"""What stands behind an engine's pool objects, of which dispose() makes another each time."""

from __future__ import annotations

from threading import RLock
from typing import Any
from weakref import WeakSet

from poolmgr.exceptions import ConfigurationError
from poolmgr.pools.core.pool import CorePool
from poolmgr.pools.forks import attend, here, on_fork
from poolmgr.pools.groups import group
from poolmgr.pools.spec import PoolSpec
from poolmgr.targets.sqlalchemy.driver import RecordDriver
from poolmgr.targets.sqlalchemy.kind import SQLALCHEMY

#: The one of a target's pools that threads use, beside those of event loops.
_THREADS = "threads"

#: In a forked child their locks are new: a thread that it doesn't have may have held the old ones.
_all: WeakSet[Backing] = WeakSet()


class Backing:
    """``front`` is the pool object that the engine has now, ``core`` the managed pool once there is one."""

    front: Any

    def __init__(self, target: str, bootstrap: PoolSpec, address: str) -> None:
        self.target = target
        self.bootstrap = bootstrap
        self.address = address
        self.core: CorePool | None = None
        self.driver = RecordDriver(lambda: self.front._create_connection(), lambda: self.front._dialect)
        self.lock = RLock()
        self._disposed: CorePool | None = None
        _all.add(self)

    def __repr__(self) -> str:
        return f"<sqlalchemy pool {self.target!r}: not used yet>"

    @property
    def spec(self) -> PoolSpec:
        """The settings in force."""
        return self.bootstrap if self.core is None else self.core.spec

    def open_pool(self) -> CorePool:
        """The managed pool of the present process, made at first use and anew after it was closed.

        Raises ``ConfigurationError`` where another engine has the target.
        """
        if not here:
            attend()
        with self.lock:
            core = self.core
            if core is None or core.retired:
                core = self.core = self._find_or_make()
        return core

    def dispose(self) -> None:
        """Close it; the next use makes another, which counts what this one has out still."""
        if not here:
            attend()
        with self.lock:
            core = self.core
            if core is None or core.retired:
                return
            self._disposed = core
        core.close()
        if self.target:
            group.end_if_empty(self.target)

    def disposed_of(self, core: CorePool) -> bool:
        return self._disposed is core

    def _find_or_make(self) -> CorePool:
        if self.target:
            found = group.join(self.target, _THREADS, self._make, SQLALCHEMY.name, self.bootstrap)
            if not isinstance(found, CorePool) or found.driver is not self.driver:
                raise ConfigurationError(
                    f"the target {self.target!r} has another pool in this process; give each engine a name of its own, or"
                    " dispose of the other one first"
                )
            return found
        made = self._make()
        made.begin(None, None, self.core)
        made.open()
        return made

    def _make(self) -> CorePool:
        return CorePool(SQLALCHEMY.name, self.target or "sqlalchemy", self.bootstrap, self.driver, self.address)


def _after_fork() -> None:
    for each in list(_all):
        each.lock = RLock()


on_fork(_after_fork)
