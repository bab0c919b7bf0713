"""kombu's pools, with who holds what since when, a size that is changed live, and a deadline for whoever waits.

What is touched of kombu's own: ``_limit``, ``_dirty``, ``_resource`` (a queue, its ``mutex`` and ``not_empty``).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from queue import Empty
from time import monotonic
from typing import Any, NamedTuple, Protocol

from kombu.connection import ConnectionPool
from kombu.pools import ProducerPool
from kombu.utils.functional import lazy

from poolmgr.pools.owners import is_alive


class Held(NamedTuple):
    """A connection that is checked out."""

    owner: Any
    since: float


def may_give(giver: Any, connection: Any, owner: Any) -> bool:
    """Whether ``giver`` ends the checkout of ``owner``, and not again one of their own: kombu's connections outlive those.

    Any thread may, but not one that had this connection, or gave it back, before. Called with the lock held.
    """
    gave: set[int] = connection.__dict__.setdefault("gave", set())
    if owner is not giver:
        if id(giver) in gave and is_alive(owner):
            return False
        gave.add(id(owner))
    gave.add(id(giver))
    return True


class Watch(Protocol):
    """What the pools tell whoever watches them. Each call is short and waits for nothing."""

    generation: int

    @property
    def patience(self) -> float:
        """Seconds for which a request waits."""

    def waiting(self, more: int) -> None: ...
    def got(self, connection: Any, asked: float) -> None: ...
    def failed(self, waited: float) -> Exception: ...
    def returned(self, connection: Any) -> bool:
        """Whether the present thread has ended a checkout by that; else somebody else has the connection by now."""

    def made(self, connection: Any) -> None: ...
    def dispose(self, close: Callable[[], object]) -> None: ...


class Connections(ConnectionPool):
    """The class that a pool of kombu's is given when it is managed. ``watch`` is who watches."""

    watch: Watch

    def new(self) -> Any:
        made = super().new()  # type: ignore[no-untyped-call]
        self.watch.made(made)
        return made

    def acquire(self, block: bool = False, timeout: float | None = None) -> Any:
        """kombu's, but whoever waits does so for ``connection_timeout`` and not for ever, unless they say for how long."""
        asked = monotonic()
        patience = self.watch.patience if timeout is None else timeout
        self.watch.waiting(1)
        try:
            connection = super().acquire(block=block, timeout=patience)  # type: ignore[no-untyped-call]
        except self.LimitExceeded:
            error = self.watch.failed(patience if block else 0.0)
        else:
            self.watch.got(connection, asked)
            return connection
        finally:
            self.watch.waiting(-1)
        raise error

    def release(self, resource: Any) -> None:
        """kombu's, but a second time it has no effect; and what is old, or more than there may be, is closed."""
        if resource not in self._dirty or not self.watch.returned(resource):
            return
        with self._resource.mutex:
            over = len(self._resource.queue) + len(self._dirty) > self._limit
        if not over and self._is_current(resource):
            super().release(resource)  # type: ignore[no-untyped-call]
            return
        self._dirty.discard(resource)
        self.watch.dispose(partial(self.close_resource, resource))
        self.follow(self._limit)

    def replace(self, resource: Any) -> None:
        """kombu's: one that is defective is closed, and another comes in its place."""
        if not self.watch.returned(resource):
            return
        super().replace(resource)  # type: ignore[no-untyped-call]
        self.follow(self._limit)

    def _is_current(self, resource: Any) -> bool:
        # Those that were made before anybody watched are of the first.
        return bool(getattr(resource, "generation", 1) == self.watch.generation)

    def follow(self, limit: int) -> None:
        """Have ``limit`` places: more serve those who wait already, fewer close what was used longest ago."""
        with self._resource.mutex:
            self._limit = limit
            queue = self._resource.queue
            room = limit - len(queue) - len(self._dirty)
            queue[:0] = [_place(self.new) for _ in range(room)]
            surplus = [queue.pop(0) for _ in range(min(-room, len(queue)))]
            if room > 0:
                self._resource.not_empty.notify(room)
        self._close(surplus)

    def renew_idle(self) -> int:
        """Close what is idle, for others to come in its place when they are wanted; returns how many."""
        with self._resource.mutex:
            queue = self._resource.queue
            old = [each for each in queue if not isinstance(each, lazy)]
            queue[:] = [each if isinstance(each, lazy) else _place(self.new) for each in queue]
        self._close(old)
        return sum(each.connected for each in old)

    def idle(self) -> int:
        """Connections that nobody uses and that are connected."""
        with self._resource.mutex:
            present = [each for each in self._resource.queue if not isinstance(each, lazy)]
        return sum(each.connected for each in present)

    def is_empty(self) -> bool:
        """Whether whoever asks now has to wait."""
        return not self._resource.queue

    def _close(self, connections: list[Any]) -> None:
        for each in connections:
            if not isinstance(each, lazy):
                self.watch.dispose(partial(self.close_resource, each))


class Producers(ProducerPool):
    """As many as want one: each needs a connection, and waits for that. kombu's own wait for a connection without end."""

    def acquire(self, block: bool = False, timeout: float | None = None) -> Any:
        """Raises as the pool of connections does."""
        try:
            found = self._resource.get_nowait()
        except Empty:
            found = self.new()  # type: ignore[no-untyped-call]
        producer: Any = None
        try:
            producer = self.prepare(found)  # type: ignore[no-untyped-call]
        finally:
            # One without a connection yet is as good as before.
            if producer is None and not isinstance(found, lazy):
                self._resource.put_nowait(found)
        self._dirty.add(producer)
        producer.release = partial(self.release, producer)
        return producer


def _place(make: Callable[[], Any]) -> Any:
    """For a connection that is made when somebody takes it."""
    return lazy(make)  # type: ignore[no-untyped-call]
