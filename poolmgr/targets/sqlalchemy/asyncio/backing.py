"""What stands behind an asyncio engine's pool objects: a managed pool for each event loop that uses the engine."""

from __future__ import annotations

from typing import Any
from weakref import WeakSet

from poolmgr.pools.aio.bridge import Bridge, running_loop
from poolmgr.pools.aio.perloop import PerLoop
from poolmgr.pools.aio.pool import LoopPool
from poolmgr.pools.forks import on_fork
from poolmgr.pools.groups import group
from poolmgr.pools.spec import PoolSpec
from poolmgr.targets.sqlalchemy.asyncio.driver import AsyncRecordDriver
from poolmgr.targets.sqlalchemy.asyncio.first import First
from poolmgr.targets.sqlalchemy.asyncio.greenlets import GreenletPool
from poolmgr.targets.sqlalchemy.kind import SQLALCHEMY

_all: WeakSet[AsyncBacking] = WeakSet()


class AsyncBacking:
    """``front`` is the pool object that the engine has now."""

    front: Any

    def __init__(self, target: str, bootstrap: PoolSpec, address: str) -> None:
        self.target = target
        self.bootstrap = bootstrap
        self.address = address
        self.first = First()
        self._loops = PerLoop(self._make, target, SQLALCHEMY.name, bootstrap)
        self._disposed: WeakSet[LoopPool] = WeakSet()
        _all.add(self)

    def __repr__(self) -> str:
        return f"<sqlalchemy asyncio pool {self.target!r}: not used yet>"

    @property
    def core(self) -> LoopPool | None:
        """The running loop's pool once there is one; where no loop runs, the one that was used last."""
        last, loop = self._loops.last, running_loop()
        if loop is None or (last is not None and last.loop is loop):
            return last
        return self._loops.now()

    @property
    def spec(self) -> PoolSpec:
        """The settings in force."""
        core = self.core
        return self.bootstrap if core is None else core.spec

    def open_pool(self) -> LoopPool:
        """The managed pool of the running loop, made at first use and anew after it was closed."""
        return self._loops.here()

    def dispose(self) -> None:
        """Close those of all loops; the next use in a loop makes another. Waits but for what only the present loop can do."""
        for core in self._loops.all():
            if not core.retired:
                self._disposed.add(core)
                core.close()
        if self.target:
            group.end_if_empty(self.target)

    def disposed_of(self, core: Any) -> bool:
        return core in self._disposed

    def begin_anew(self) -> None:
        """In a forked child."""
        self.first.begin_anew()

    def _make(self, bridge: Bridge) -> LoopPool:
        driver = AsyncRecordDriver(
            lambda: self.front._create_connection(), lambda: self.front._dialect, bridge, self.first
        )
        return GreenletPool(SQLALCHEMY.name, self.target or "sqlalchemy", self.bootstrap, driver, self.address, bridge)


def _after_fork() -> None:
    for each in list(_all):
        each.begin_anew()


on_fork(_after_fork)
