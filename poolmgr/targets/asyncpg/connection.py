"""asyncpg's connection, as a pool has it: where it stands, and how it ends."""

from __future__ import annotations

import asyncio
import warnings
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from threading import Event, Lock
from typing import Any
from weakref import ref

from asyncpg.connect_utils import _cancel

from poolmgr.pools.core.slot import Slot
from poolmgr.pools.forks import attend, here
from poolmgr.pools.sockets import Ear, first_byte, hang_up, has_hung_up, say_good_bye
from poolmgr.pools.sql.listening import listen
from poolmgr.pools.sql.states import IDLE, IN_TRANSACTION, RUNNING
from poolmgr.pools.stopping import AwaitedStop, Stop, break_off
from poolmgr.targets.asyncpg.library import asyncpg
from poolmgr.targets.asyncpg.noting import Noting

#: Seconds that a borrower's own ``close()`` may take where they don't say.
_PATIENCE = 5.0
#: How the server begins to say that it ends a connection, and how it has.
_ENDS = (b"E", b"")

#: What asyncpg says of a conversation that can't go on.
_FAILED = ("another operation (2) is in progress", 'the "failed" state')


def _broken(timeout: int) -> bool:
    return True


class Tracked(Noting):
    """``slot`` is the pool's; ``behind_pooler`` says that no process of the server's can be said to be this one's.

    It is used in its event loop alone, save for what says otherwise.
    """

    __slots__ = ("_ear", "_ear_lock", "_listening", "behind_pooler", "parted", "slot", "stopped")

    def __init__(self, *args: Any) -> None:
        self.slot: Slot | None = None
        self.behind_pooler = False
        self.stopped: Event | None = None  # set when what runs was stopped, where the pool breaks it off
        self.parted = False
        self._ear: Ear | None = None
        self._ear_lock = Lock()
        super().__init__(*args)
        self._listening = listen(self._transport, self._protocol)
        # What asyncpg finds wrong with the conversation it aborts without a word to the connection.
        self._protocol.abort = partial(_abort, ref(self), ref(self._protocol))

    def _drop_global_statement_cache(self) -> None:
        for each in self._of_its_pool():
            each._drop_local_statement_cache()

    def _drop_global_type_cache(self) -> None:
        for each in self._of_its_pool():
            each._drop_local_type_cache()

    def _of_its_pool(self) -> list[Tracked]:
        if self.slot is None:
            return [self]
        pool = self.slot.pool
        with pool.lock:
            found = [slot.conn for slot in pool.living]
        return [each for each in found if not each.is_closed()]

    def lost(self, error: Exception) -> None:
        """Told of an error of the server's inside, or of asyncpg's own.

        Raises ``ConnectionDoesNotExistError`` where the server has said that it ends the connection, and hasn't hung up yet:
        asyncpg has read of it, and tells nobody but who asks for something.
        """
        told = str(error)
        if "cache lookup failed for type" in told:
            # What asyncpg keeps prepared is of a type that was dropped; of whatever else changes it asks again by itself.
            self._drop_global_type_cache()
            self._drop_global_statement_cache()
        elif any(each in told for each in _FAILED):
            self.terminate()
            raise asyncpg.ConnectionDoesNotExistError("the server has ended the connection") from error

    # -- parting ------------------------------------------------------------------------------------------------------

    def fileno(self) -> int:
        """Of its socket; below 0 where there is none. From any thread."""
        return _fileno_of(self._transport)

    def news(self, look: Callable[[int], Any]) -> Callable[[int], Any]:
        """What tells whether the server has said something or hung up, whether or not the loop has read it. From any thread.

        It doesn't refer to the connection, since the pool counts who does. asyncpg reads at once what comes.
        """
        is_connected, listening = self._protocol.is_connected, self._listening
        return lambda timeout: look(timeout) or not is_connected() or (listening.rest and listening.has_heard_the_end)

    def _stop(self) -> Stop | None:
        """What stops the statement that runs; it keeps no more than what it takes, and not the connection."""
        protocol = self._protocol
        if protocol is None:
            return None
        key = {"backend_pid": protocol.backend_pid, "backend_secret": protocol.backend_secret}
        return AwaitedStop(partial(_send, addr=self._addr, params=self._params, **key))

    def stop(self) -> Stop | None:
        """The same from any thread, and None where nothing runs."""
        if self.is_closed() or self._protocol is None or not self.is_at_work:
            return None
        return self._stop()

    @property
    def doing(self) -> str:
        """What its borrower is at, in a holder's words. From any thread."""
        if self.is_closed() or self._protocol is None:
            return ""
        if self.is_at_work:
            return RUNNING
        return IN_TRANSACTION if self._protocol.is_in_transaction() else IDLE

    def sever(self) -> None:
        """End the conversation that somebody is in the middle of: they get asyncpg's error. From any thread, unheard."""
        if (stop := self._stop()) is not None:
            self.stopped = break_off(stop, partial(_hang_up, self._transport))

    def gone(self) -> bool:
        """Asked when its socket has news: whether the server hung up, or is about to. From any thread."""
        if self.is_closed() or self._listening.has_heard_the_end:
            return True
        try:
            fileno = self.fileno()
            plain = self._transport.get_extra_info("ssl_object") is None
            return has_hung_up(fileno) or (plain and first_byte(fileno) in _ENDS)
        except (OSError, ValueError):  # closed meanwhile
            return True

    async def close(self, *, timeout: float | None = None) -> None:
        """asyncpg's, within 5 seconds where it isn't said otherwise; the server's end can still be heard."""
        self.expect_its_loop()
        self._prick_up()
        await super().close(timeout=_PATIENCE if timeout is None else timeout)

    def terminate(self) -> None:
        """asyncpg's."""
        self._prick_up()
        super().terminate()

    def _cleanup(self) -> None:
        self._prick_up()
        super()._cleanup()
        self._free_its_place()

    def __del__(self) -> None:
        # Of a pool that nobody has any more; by whichever thread collects the garbage.
        if here and not self.parted and not self.is_closed():
            warnings.warn(f"unclosed connection {self!r}", ResourceWarning, stacklevel=1)
            with suppress(RuntimeError):  # the loop is closed, and its transports with it
                self._loop.call_soon_threadsafe(type(self._protocol).abort, self._protocol)

    def _free_its_place(self) -> None:
        """What its borrower has closed, or has lost, is over with that: they need not say so, nor drop it."""
        slot = self.slot
        if slot is not None and self._proxy is not None:
            slot.pool.put_back(slot, False, slot.epoch)

    def _prick_up(self) -> None:
        """Called whenever it is about to be closed, the first time with its socket."""
        if not here:
            attend()
        if (slot := self.slot) is not None:
            slot.has_news = _broken
        with self._ear_lock:
            if self.parted or self._protocol is None:
                return
            if (fileno := self.fileno()) < 0:
                self._stop_unheard()
                return
            self.parted = True
            with suppress(OSError):
                self._ear = Ear(fileno)
                if self._may_run_on():
                    self._ear.stop = self._stop()

    def _stop_unheard(self) -> None:
        # uvloop closes its sockets before it says so.
        if self._may_run_on() and (stop := self._stop()) is not None:
            self.parted = True
            self.stopped = break_off(stop, int)

    def _may_run_on(self) -> bool:
        if self._protocol.is_connected():
            return self.is_at_work
        # It broke, and what ran may not have heard of that.
        return self.slot is not None and self.slot.owner is not None

    def let_go(self) -> None:
        """Close for ever, without waiting: in the loop, or in whatever thread once that is closed."""
        self._prick_up()
        fileno = self.fileno()
        with suppress(RuntimeError):  # the loop is closed
            super().terminate()
        if fileno >= 0 and fileno == self.fileno():
            say_good_bye(fileno)

    def part_from_outside(self) -> None:
        """Say good-bye in whatever thread, where the loop doesn't run that ``let_go()`` is for."""
        self._prick_up()
        if (ear := self._ear) is not None:
            ear.hang_up()

    def take_ear(self) -> Ear | None:
        """What hears the server's end; once."""
        with self._ear_lock:
            ear, self._ear = self._ear, None
            return ear

    def let_go_unheard(self) -> None:
        """Close for ever, where nobody counts the server's ends."""
        self.let_go()
        if (ear := self.take_ear()) is not None:
            ear.close()


def _abort(of: ref[Tracked], protocol: ref[Any]) -> None:
    if (conn := of()) is not None:
        conn._prick_up()
        conn._free_its_place()
    if (its := protocol()) is not None:
        type(its).abort(its)


def _fileno_of(transport: Any) -> int:
    sock = transport.get_extra_info("socket")
    return -1 if sock is None else int(sock.fileno())


def _hang_up(transport: Any) -> None:
    if (fileno := _fileno_of(transport)) >= 0:  # else it was closed meanwhile
        hang_up(fileno)


async def _send(**where: Any) -> None:
    await _cancel(loop=asyncio.get_running_loop(), **where)
