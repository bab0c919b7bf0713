"""What threads and event loops have in common where Sentinel says who is the master."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from itertools import count
from threading import Lock
from time import monotonic
from typing import Any, NamedTuple
from weakref import ref

from poolmgr.exceptions import ConfigurationError
from poolmgr.pools.core.pool import CorePool
from poolmgr.pools.core.ticker import ticker
from poolmgr.secrets import shown
from poolmgr.targets.redis.library import redis

#: Seconds between two questions of who is the master.
_INTERVAL = 1.0


class Classes(NamedTuple):
    """Of one half of redis-py: what a client of Sentinel is, its connections, and those that find nobody by Sentinel."""

    manager: type[Any]
    found: type[Any]
    found_over_tls: type[Any]
    plain: type[Any]
    plain_over_tls: type[Any]

    def connection_class(self, given: Any, ssl: bool) -> Any:
        """The one that asks Sentinel where to connect to; what else the site gives is its own."""
        if given is None or given is self.plain:
            return self.found_over_tls if ssl else self.found
        return self.found_over_tls if given is self.plain_over_tls else given  # as rediss:// has it

    def check(self, manager: Any) -> None:
        """Raises ``ConfigurationError`` for a client of the other half, whose answers nobody here could take."""
        if not isinstance(manager, self.manager):
            raise ConfigurationError(
                f"sentinel_manager is {shown(manager)}, but must be a {self.manager.__module__}.{self.manager.__qualname__}:"
                " threads and event loops have pools of their own"
            )


def is_current(master: Any, connection: Any) -> bool:
    """Whether a connection leads to the ``master`` that was named last; to replicas, for whom there is none, each does."""
    return master is None or master == (connection.host, connection.port)


def address(service: str, is_master: bool, master: Any, database: Any) -> str:
    """Where a pool connects to, for people."""
    if not is_master:
        return f"replicas of {service}/{database or 0}"
    return f"{service}/{database or 0}" if master is None else f"{service} at {master[0]}:{master[1]}/{database or 0}"


class Questions:
    """Tells late answers, which may name a master that is none any more: somebody was kept from asking, or from reading.

    Who asks after a change was heard of hears nothing older than that; of those who asked before nobody knows, and the next
    second tells.
    """

    def __init__(self) -> None:
        self._numbers = count(1)
        self._changed = 0  # the number that came last when a change was heard of
        self._locks: dict[int, Lock] = {}  # by process: it may have been held at a fork

    def ask(self) -> int:
        """The number of a question, taken before it is asked."""
        return next(self._numbers)

    def hear(self, number: int, named: Any, known: Callable[[], Any], follow: Callable[[Any], object]) -> Any:
        """Have ``follow()`` the answer to a question where it tells of a change; who is the master by all that is known."""
        with self._locks.setdefault(os.getpid(), Lock()):
            if named != known() and number > self._changed:
                self._changed = next(self._numbers)
                follow(named)
            return known()


class Asking:
    """Has a thread of the pool's call ``ask(pool)``, once a second while the pool has connections, until it is closed."""

    def __init__(self, core: CorePool, ask: Callable[[Any], object]) -> None:
        self._core = ref(core)
        self._ask = ask
        self.is_under_way = False
        ticker().at(monotonic() + _INTERVAL, self._look)

    def _look(self) -> None:
        core = self._core()
        if core is None or core.retired:
            return
        if core.places and not self.is_under_way:
            self.is_under_way = True
            core.workers.run(self._run)
        ticker().at(monotonic() + _INTERVAL, self._look)

    def _run(self) -> None:
        try:
            if (core := self._core()) is not None:
                with suppress(redis.RedisError):  # Sentinels that are away; what there is stays in use
                    self._ask(core)
        finally:
            self.is_under_way = False
