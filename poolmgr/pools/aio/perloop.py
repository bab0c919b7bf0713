"""The pools of one target in a process, one for each event loop that uses it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable
from threading import Lock
from weakref import WeakSet

from poolmgr.exceptions import ConfigurationError
from poolmgr.pools.aio.bridge import Bridge, running_loop
from poolmgr.pools.aio.pool import LoopPool
from poolmgr.pools.forks import attend, here, on_fork
from poolmgr.pools.groups import group
from poolmgr.pools.spec import PoolSpec

#: What a forked child forgets: its parent's loops don't run in it.
_all: WeakSet[PerLoop] = WeakSet()


class PerLoop:
    """``make`` gives a pool for the loop that the bridge leads into; ``last`` is the pool that was asked for last.

    With a ``target`` they are members of its group, together with what threads use of it. A ``name`` tells them from
    others of the same loop and target, as those of a cluster's nodes are.
    """

    def __init__(
        self,
        make: Callable[[Bridge], LoopPool],
        target: str,
        kind: str,
        bootstrap: PoolSpec,
        name: Hashable = None,
    ) -> None:
        self._make = make
        self._name = name
        self._target, self._kind, self._bootstrap = target, kind, bootstrap
        self._pools: dict[asyncio.AbstractEventLoop, LoopPool] = {}
        self._lock = Lock()
        self.last: LoopPool | None = None
        _all.add(self)

    def here(self) -> LoopPool:
        """The running loop's, made and opened where there is none.

        Raises ``RuntimeError`` where no loop runs, ``ConfigurationError`` where the target has another pool of this loop.
        """
        if not here:
            attend()
        loop = asyncio.get_running_loop()
        with self._lock:
            before = self._pools.get(loop)
            ended = [of for of in self._pools if of.is_closed()]
            over = [self._pools.pop(of) for of in ended]
        for each in over:
            if not each.retired:
                each.leave()
        if before is not None and not before.retired:
            self.last = before
            return before
        # Nobody else makes one for this loop, whose thread this is.
        self.last = pool = self._found_or_made(Bridge(loop), before)
        with self._lock:
            self._pools[loop] = pool
        pool.stay_until_the_loop_ends()
        return pool

    def _found_or_made(self, bridge: Bridge, before: LoopPool | None) -> LoopPool:
        pool = self._make(bridge)
        if self._target:
            return self._member(pool, bridge)
        pool.begin(None, None, before)
        pool.open()
        return pool

    def _member(self, made: LoopPool, bridge: Bridge) -> LoopPool:
        if group.join(self._target, self.key(bridge.loop), lambda: made, self._kind, self._bootstrap) is not made:
            raise ConfigurationError(
                f"the target {self._target!r} has another pool in this event loop; give each a name of its own, or use one"
            )
        return made

    def key(self, loop: asyncio.AbstractEventLoop) -> Hashable:
        """By which the group knows the pool of a loop."""
        return loop if self._name is None else (loop, self._name)

    def now(self) -> LoopPool | None:
        """The running loop's, where there is one."""
        if not here:
            attend()
        loop = running_loop()
        with self._lock:
            return None if loop is None else self._pools.get(loop)

    def all(self) -> list[LoopPool]:
        """Every loop's."""
        with self._lock:
            return list(self._pools.values())

    def forget(self) -> None:
        self._lock = Lock()
        self._pools, self.last = {}, None


def _after_fork() -> None:
    for each in list(_all):
        each.forget()


on_fork(_after_fork)
