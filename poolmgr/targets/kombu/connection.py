"""A connection of kombu's that tells of each connect and each end, and hears the broker close its own end."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from functools import partial
from time import monotonic
from typing import Any

from kombu.connection import PooledConnection

from poolmgr.pools.sockets import Ear
from poolmgr.secrets import disarm, hide

#: Seconds for which a borrower who connects again, or closes, waits for the broker to close its end.
_SHORTLY = 0.5


class Connection(PooledConnection):
    """The class that a pool's connections are given. ``generation`` is that of the pool when it connected."""

    generation = 0
    #: The process that has connected; 0 while it isn't connected.
    process = 0
    _ears: tuple[Ear, ...] = ()

    @property
    def is_connected(self) -> bool:
        """Whether the broker has an end of it. kombu's ``connected`` asks the transport."""
        return self.process != 0

    def begin(self) -> None:
        """It is watched from now on, and whoever prints what it has prints no password."""
        hide(self.__dict__)
        if self.connected:
            self._note_begin(self._pool.first, None)

    def part(self, deadline: float) -> bool:
        """Close it; whether the broker was heard closing its end by ``deadline`` on the monotonic clock."""
        return self._end(super()._close, deadline, talks=True)

    def hang_up(self) -> None:
        """Have who closes it in another thread wait for the broker no longer."""
        for ear in self._ears:
            ear.break_off()

    def collect(self, socket_timeout: float | None = None) -> None:
        """kombu's, for an end without a good-bye: it is about to connect again."""
        self._end(partial(super().collect, socket_timeout), monotonic() + _SHORTLY, talks=False)

    def _close(self) -> None:
        self._end(super()._close, monotonic() + _SHORTLY, talks=True)

    def _establish_connection(self) -> Any:
        # One that the transport has found broken is connected again without being closed.
        self._note_end()
        began = monotonic()
        try:
            made = super()._establish_connection()  # type: ignore[no-untyped-call]
        except Exception as ex:  # each transport has errors of its own
            # The frames of the transport hold what it was to connect with.
            self._watch.refused(disarm(ex))
            raise
        self._note_begin(self._watch.generation, monotonic() - began)
        return made

    def _note_begin(self, generation: int, seconds: float | None) -> None:
        self.generation, self.process = generation, os.getpid()
        self._watch.established(seconds)

    @property
    def _watch(self) -> Any:
        return self._pool.watch

    def _end(self, close: Callable[[], object], deadline: float, talks: bool) -> bool:
        # In a forked child the sockets are the parent's, whose conversation a good-bye would end.
        is_ours = self.process == os.getpid()
        said = _ears_of(_talking(self)) if is_ours and talks else ()
        heard = _ears_of(_silent(self) if talks else [*_talking(self), *_silent(self)]) if is_ours else ()
        self._ears = (*said, *heard)
        try:
            # First, for a library that closes a socket lets nobody hear any more.
            return sum(each.hears_the_end(deadline) for each in heard) == len(heard)
        finally:
            try:
                close()
            finally:
                for ear in said:
                    ear.close()
                self._ears = ()
                self._note_end()

    def _note_end(self) -> None:
        if self.process == os.getpid():
            self._watch.ended()
        self.process = 0


def _ears_of(sockets: Iterable[Any]) -> tuple[Ear, ...]:
    found = []
    for each in sockets:
        with suppress(OSError):
            found.append(Ear(each.fileno()))
    return tuple(found)


# Of other transports than these nobody hears: their connections are gone when they are closed.


def _talking(connection: Any) -> Iterator[Any]:
    """py-amqp's socket: whoever closes one in good order is answered."""
    if (sock := getattr(connection._connection, "sock", None)) is not None:
        yield sock


def _silent(connection: Any) -> Iterator[Any]:
    """redis-py's sockets, whose end is all that the server hears of it."""
    for channel in tuple(getattr(connection._connection, "channels", None) or ()):
        for pool in (getattr(channel, "_pool", None), getattr(channel, "_async_pool", None)):
            for names in ("_available_connections", "_in_use_connections"):
                for each in tuple(getattr(pool, names, ())):
                    if (sock := getattr(each, "_sock", None)) is not None:
                        yield sock
