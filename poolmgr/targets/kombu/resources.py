"""kombu's pools, with places that are counted, a size that is changed live, and a deadline for whoever waits.

What is touched of kombu's own: ``_limit``, ``_dirty``, ``_closed``, ``_resource`` (a queue of
a list, its ``mutex`` and ``not_empty``).

The law of the mutex: a place is a lazy thing or an idle connection in the queue, a connection in ``_dirty``, or one of those
that are being ``taken`` or ``leaving``. It changes from one to another, and is counted, with the queue's mutex held. Whoever
watches is never called with it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from time import monotonic
from typing import Any, Protocol

from kombu.connection import ConnectionPool
from kombu.pools import ProducerPool
from kombu.utils.functional import lazy

from poolmgr.targets.kombu.connection import Connection


class Watch(Protocol):
    """What the pools and their connections tell whoever watches them. Each call is short and waits for nothing."""

    generation: int

    @property
    def patience(self) -> float:
        """Seconds for which a request waits."""

    @property
    def farewell(self) -> float:
        """Seconds for which a broker is given time to close its end."""

    def asks(self, since: float) -> None: ...
    def asks_no_more(self, since: float) -> None: ...
    def got(self, connection: Any, asked: float, has_waited: bool) -> None: ...
    def failed(self, waited: float) -> Exception: ...
    def returned(self, connection: Any) -> bool:
        """Whether the present thread has ended a checkout by that; else somebody else has the connection by now."""

    def forget(self, pool: Any) -> None:
        """Nobody has a connection of ``pool`` any more."""

    def dispose(self, connection: Any) -> None:
        """Have it closed, and the pool told by ``free()``."""

    def established(self, seconds: float | None) -> None:
        """A connect took so long; None for one before anybody watched."""

    def refused(self, error: Exception) -> None: ...
    def ended(self) -> None: ...


class Connections(ConnectionPool):
    """The class that a pool of kombu's is given when it is managed. ``watch`` is who watches."""

    watch: Watch
    #: The generation of what there was before.
    first: int
    #: Places of connections that are just being made for who takes them, and of those that are being closed.
    taken = leaving = 0

    @staticmethod
    def manage(pool: Any, watch: Watch) -> None:
        """Have ``watch`` be told of what becomes of ``pool`` from now on."""
        pool.watch, pool.first = watch, watch.generation
        pool.__class__ = Connections

    def acquire(self, block: bool = False, timeout: float | None = None) -> Any:
        """kombu's, but whoever waits does so for ``connection_timeout`` and not for ever, unless they say for how long."""
        asked = monotonic()
        patience = (self.watch.patience if timeout is None else timeout) if block else 0.0
        self.watch.asks(asked)
        try:
            taken = self._take(asked + (patience if block else self.watch.farewell), block)
        finally:
            self.watch.asks_no_more(asked)
        if taken is None:
            raise self.watch.failed(patience)
        connection, has_waited = taken
        self.watch.got(connection, asked, has_waited)
        connection.release = partial(self.release, connection)
        return connection

    def _take(self, deadline: float, block: bool) -> tuple[Any, bool] | None:
        """A connection, and whether it was waited for; None where nothing comes free by ``deadline``."""
        queue, waits = self._resource, False
        with queue.not_empty:
            if self._closed:
                raise RuntimeError("Acquire on closed pool")  # kombu's words
            while not queue.queue:
                # What is being closed gives its place back at once: a recycle fails nobody who doesn't want to wait.
                if (left := deadline - monotonic()) <= 0 or not (block or self.leaving):
                    return None
                waits = True
                queue.not_empty.wait(left)
            found = queue.queue.pop()
            is_there = not isinstance(found, lazy)
            if is_there:
                self._dirty.add(found)
            else:
                self.taken += 1
        return self._adopt(found) if is_there else self._make(found), waits

    def _make(self, place: Any) -> Any:
        connection = None
        try:
            connection = self._adopt(self.prepare(place))  # type: ignore[no-untyped-call]
            return connection
        finally:
            with self._resource.mutex:
                self.taken -= 1
                if connection is not None:
                    self._dirty.add(connection)
                else:
                    self._put_places()

    def _adopt(self, connection: Any) -> Any:
        # One that was there before anybody watched, or that a place of kombu's own has made.
        if not isinstance(connection, Connection):
            connection.__class__ = Connection
            connection.begin()
        return connection

    def release(self, resource: Any) -> None:
        """kombu's, but a second time it has no effect; and what is old, or more than there may be, is closed."""
        self._give_back(resource, is_good=True)

    def replace(self, resource: Any) -> None:
        """kombu's: one that is defective is closed, and another comes in its place."""
        self._give_back(resource, is_good=False)

    def _give_back(self, connection: Any, is_good: bool) -> None:
        if connection not in self._dirty:
            return
        # Who borrowed before anybody watched gives back once.
        if isinstance(connection, Connection) and not self.watch.returned(connection):
            return
        self._adopt(connection)
        with self._resource.mutex:
            if connection not in self._dirty:
                return
            stays = is_good and self._present() <= self._limit and not self._is_old(connection)
            self._dirty.discard(connection)
            if stays:
                self._resource.queue.append(connection)
                self._resource.not_empty.notify()
                return
            leaves = self._leaves(connection)
        if leaves:
            self.watch.dispose(connection)

    def _leaves(self, found: Any) -> bool:
        """Whether its place is free only when it is closed. That of one that isn't connected is free now."""
        leaves = _is_connected(found)
        self.leaving += leaves
        self._put_places()
        return leaves

    def free(self) -> None:
        """One that was disposed of is gone."""
        with self._resource.mutex:
            self.leaving -= 1
            self._put_places()

    def _present(self) -> int:
        """Places that are not about to come free."""
        return len(self._resource.queue) + len(self._dirty) + self.taken

    def _put_places(self) -> None:
        # Those who wait for what is leaving look again, whether something has come of it or not.
        for _ in range(self._limit - self._present() - self.leaving):
            self._resource.queue.insert(0, _place(self.new))
        self._resource.not_empty.notify_all()

    def follow(self, limit: int) -> None:
        """Have ``limit`` places: more serve those who wait already, fewer close what was used longest ago."""
        with self._resource.mutex:
            self._limit = limit
            queue, surplus = self._resource.queue, []
            for _ in range(min(self._present() - limit, len(queue))):
                surplus.append(queue[0])
                del queue[0]
            surplus = [each for each in surplus if self._leaves(each)]
            self._put_places()
        for each in surplus:
            self.watch.dispose(self._adopt(each))

    def take_old(self) -> Any:
        """An idle connection from before the last recycle, which the caller disposes of; None where there is none."""
        with self._resource.mutex:
            queue = self._resource.queue
            index = next((index for index, each in enumerate(queue) if self._is_old(each)), None)
            if index is None:
                return None
            found = queue[index]
            del queue[index]
            self.leaving += 1
        return self._adopt(found)

    def old(self) -> int:
        """How many are from before the last recycle, idle and used."""
        with self._resource.mutex:
            return sum(map(self._is_old, (*self._resource.queue, *self._dirty)))

    def _is_old(self, found: Any) -> bool:
        return _is_connected(found) and getattr(found, "generation", self.first) != self.watch.generation

    def figures(self) -> tuple[int, int, int]:
        """Connections that are idle, used, and being closed."""
        with self._resource.mutex:
            return sum(map(_is_connected, self._resource.queue)), len(self._dirty) + self.taken, self.leaving

    def is_empty(self) -> bool:
        """Whether whoever asks now has to wait."""
        return not self._resource.queue

    def resize(self, *args: Any, **kwargs: Any) -> None:
        """kombu's, which resizes every pool of the process when any application makes one: the profile says how many."""

    def force_close_all(self, close_pool: bool = True) -> None:
        """kombu's."""
        super().force_close_all(close_pool)  # type: ignore[no-untyped-call]
        self.watch.forget(self)
        self.follow(self._limit)


class Producers(ProducerPool):
    """As many as want one: each needs a connection, and waits for that. kombu's own wait for a connection without end.

    Each checkout has one of its own, so that who gives one back twice gives back nobody else's.
    """

    def acquire(self, block: bool = False, timeout: float | None = None) -> Any:
        """Raises as the pool of connections does."""
        connection = self.connections.acquire(block=block, timeout=timeout)
        producer: Any
        try:
            producer = self.Producer(connection)  # type: ignore[no-untyped-call]
        except BaseException:
            connection.release()
            raise
        self._dirty.add(producer)
        producer.release = partial(self.release, producer)
        return producer

    def release(self, resource: Any) -> None:
        """kombu's, but a second time it has no effect."""
        try:
            self._dirty.remove(resource)
        except KeyError:
            return
        if resource.__connection__:
            resource.__connection__.release()
        resource.channel = None

    def resize(self, *args: Any, **kwargs: Any) -> None:
        """kombu's: they are as many as want one."""


def _place(make: Callable[[], Any]) -> Any:
    """For a connection that is made when somebody takes it."""
    return lazy(make)  # type: ignore[no-untyped-call]


def _is_connected(found: Any) -> bool:
    if isinstance(found, Connection):
        return found.is_connected
    # One that was there before anybody watched.
    return not isinstance(found, lazy) and bool(found.connected)
