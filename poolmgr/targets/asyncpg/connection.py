"""asyncpg's connection, with what the pool must know of it: what was said, what is left of that, and how it ends.

The names of asyncpg's that are overridden or asked here are its own inside; the requirements bound its version.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from itertools import chain
from threading import Event, Lock
from typing import Any
from weakref import ref

from asyncpg.connect_utils import _cancel
from asyncpg.protocol.protocol import PreparedStatementState

from poolmgr.pools.aio.bridge import running_loop
from poolmgr.pools.core.slot import Slot
from poolmgr.pools.forks import attend, here
from poolmgr.pools.sockets import Ear, first_byte, hang_up, has_hung_up, say_good_bye
from poolmgr.pools.sql.pinning import BEGINS, reasons
from poolmgr.pools.stopping import AwaitedStop, Stop, break_off
from poolmgr.targets.asyncpg.library import asyncpg

#: How types are read and written, and a statement that asyncpg closes whenever its borrower drops it, whoever has prepared
#: another by the same name: only another connection undoes these.
CODEC, NAMED = "type codec", "statement prepared by a name"
#: Seconds that a borrower's own ``close()`` may take where they don't say.
_PATIENCE = 5.0
#: How the server begins to say that it ends a connection, and how it has.
_ENDS = (b"E", b"")


def _broken(timeout: int) -> bool:
    return True


class Tracked(asyncpg.Connection):  # type: ignore[misc]
    """``slot`` is the pool's, ``left`` says what its borrower's statements have left in the session, ``said`` counts them.

    It is used in its event loop alone, save for what says otherwise.
    """

    __slots__ = (
        "_checkouts",
        "_ear",
        "_ear_lock",
        "_lent",
        "_of_the_site",
        "_trial",
        "left",
        "parted",
        "said",
        "slot",
        "stopped",
    )

    def __init__(self, *args: Any) -> None:
        self.slot: Slot | None = None
        self.stopped: Event | None = None  # set when what runs was stopped, where the pool breaks it off
        self.said = self._checkouts = 0
        self.left: frozenset[str] = frozenset()
        self.parted = False
        self._lent: Any = None
        self._ear: Ear | None = None
        self._ear_lock = Lock()
        super().__init__(*args)
        self._trial = PreparedStatementState("", "", self._protocol, asyncpg.Record, False)
        self._trial.attach()
        self.begin()

    # -- who has it ---------------------------------------------------------------------------------------------------

    @property
    def _proxy(self) -> Any:
        """What a borrower has in their hands. asyncpg's own reference would keep that alive when they drop it."""
        return None if self._lent is None else self._lent()

    @_proxy.setter
    def _proxy(self, proxy: Any) -> None:
        self._lent = None if proxy is None else ref(proxy)

    @property
    def _pool_release_ctr(self) -> int:
        """What statements and cursors compare each time, to see that their checkout isn't over."""
        self.expect_its_loop()
        return self._checkouts

    @_pool_release_ctr.setter
    def _pool_release_ctr(self, number: int) -> None:
        self._checkouts = number

    def expect_its_loop(self) -> None:
        """Raises ``InterfaceError`` in another loop or thread, and in a forked child: asyncpg's code would crash there."""
        if running_loop() is not self._loop or not here:
            if not here:
                attend()
            raise asyncpg.InterfaceError(
                "this connection is of another event loop, or of a parent process; take another"
            )

    def _check_open(self) -> None:
        self.expect_its_loop()
        super()._check_open()

    # -- what is said on it -------------------------------------------------------------------------------------------

    def _note(self, statement: str) -> None:
        self.said += 1
        if found := reasons(statement):
            self.left |= found - {BEGINS}

    async def execute(self, query: str, *args: Any, **kwargs: Any) -> str:
        """asyncpg's."""
        self._check_open()
        if not args:  # else it is noted below
            self._note(query)
        return await super().execute(query, *args, **kwargs)  # type: ignore[no-any-return]

    def _get_statement(self, query: str, *args: Any, **kwargs: Any) -> Awaitable[Any]:
        # All but the simplest way leads here, cursors and what is prepared too.
        self._note(query)
        if isinstance(kwargs.get("named"), str):
            self.left |= {NAMED}
        return super()._get_statement(query, *args, **kwargs)  # type: ignore[no-any-return]

    async def _copy_out(self, copy_stmt: str, *args: Any) -> str:
        self._check_open()
        self._note(copy_stmt)
        return await super()._copy_out(copy_stmt, *args)  # type: ignore[no-any-return]

    async def _copy_in(self, copy_stmt: str, *args: Any) -> str:
        self._check_open()
        self._note(copy_stmt)
        return await super()._copy_in(copy_stmt, *args)  # type: ignore[no-any-return]

    async def copy_records_to_table(self, table_name: str, *, where: str | None = None, **kwargs: Any) -> str:
        """asyncpg's."""
        self._check_open()
        self._note(where or "")
        return await super().copy_records_to_table(table_name, where=where, **kwargs)  # type: ignore[no-any-return]

    async def _introspect_types(self, *args: Any) -> Any:
        # asyncpg switches a setting off for this, and on again.
        left = self.left
        result = await super()._introspect_types(*args)
        self.left = left
        return result

    async def set_type_codec(self, *args: Any, **kwargs: Any) -> None:
        """asyncpg's; for one borrower it costs the connection: set it in ``INIT``, for all."""
        self.left |= {CODEC}
        await super().set_type_codec(*args, **kwargs)

    async def reset_type_codec(self, *args: Any, **kwargs: Any) -> None:
        """The same."""
        self._check_open()
        self.left |= {CODEC}
        await super().reset_type_codec(*args, **kwargs)

    async def set_builtin_type_codec(self, *args: Any, **kwargs: Any) -> None:
        """The same."""
        self.left |= {CODEC}
        await super().set_builtin_type_codec(*args, **kwargs)

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

    # -- between two borrowers ----------------------------------------------------------------------------------------

    def begin(self) -> None:
        """What is on it by now is the site's, and stays."""
        self.left = frozenset()
        self._of_the_site = tuple(frozenset(each) for each in self._hooks())

    def _hooks(self) -> tuple[set[Any], ...]:
        return self._log_listeners, self._query_loggers, self._termination_listeners

    def end_checkout(self) -> None:
        """Cut off whatever a borrower has kept of it, and what they were told of it by; asyncpg warns of some."""
        self._checkouts += 1
        if "LISTEN" in self.left:
            self._check_listeners(list(chain.from_iterable(self._listeners.values())), "notification")
        for has, had in zip(self._hooks(), self._of_the_site, strict=True):
            if has != had:
                if has is self._log_listeners:
                    self._check_listeners(has - had, "log")
                has.intersection_update(had)

    @property
    def is_as_it_was(self) -> bool:
        """Whether whoever has it next finds what the site has made it, and nobody is at anything."""
        return not (self.left or self._top_xact is not None or self._protocol.is_in_transaction() or self.is_at_work)

    @property
    def is_at_work(self) -> bool:
        """Whether something is under way, of which asyncpg tells nobody but who asks for something else."""
        protocol = self._protocol
        if protocol._is_cancelling():
            return True
        try:
            protocol.close_statement(self._trial, None).send(None)
        except asyncpg.InternalClientError:  # since it is attached
            return False
        except asyncpg.InterfaceError:
            return True
        raise AssertionError("asyncpg closes what is in use")

    def forget_statements(self) -> None:
        """The server has none of those any more that asyncpg has prepared."""
        self._mark_stmts_as_closed()

    # -- parting ------------------------------------------------------------------------------------------------------

    def fileno(self) -> int:
        """Of its socket; below 0 where there is none. From any thread."""
        return _fileno_of(self._transport)

    def news(self, look: Callable[[int], Any]) -> Callable[[int], Any]:
        """What tells whether the server has said something or hung up, whether or not the loop has read it. From any thread.

        It doesn't refer to the connection, since the pool counts who does. asyncpg reads at once what comes.
        """
        is_connected = self._protocol.is_connected
        return lambda timeout: look(timeout) or not is_connected()

    def _stop(self) -> Stop | None:
        """What stops the statement that runs; it keeps no more than what it takes, and not the connection."""
        protocol = self._protocol
        if protocol is None:
            return None
        key = {"backend_pid": protocol.backend_pid, "backend_secret": protocol.backend_secret}
        return AwaitedStop(partial(_send, addr=self._addr, params=self._params, **key))

    def sever(self) -> None:
        """End the conversation that somebody is in the middle of: they get asyncpg's error. From any thread, unheard."""
        if (stop := self._stop()) is not None:
            self.stopped = break_off(stop, partial(_hang_up, self._transport))

    def gone(self) -> bool:
        """Asked when its socket has news: whether the server hung up, or is about to. From any thread."""
        if self.is_closed():
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

    def _prick_up(self) -> None:
        """Called whenever it is about to be closed, the first time with its socket."""
        if not here:
            attend()
        if (slot := self.slot) is not None:
            slot.has_news = _broken
        with self._ear_lock:
            if self.parted or self._protocol is None or (fileno := self.fileno()) < 0:
                return
            self.parted = True
            with suppress(OSError):
                self._ear = Ear(fileno)
                if self._may_run_on():
                    self._ear.stop = self._stop()

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


def _fileno_of(transport: Any) -> int:
    sock = transport.get_extra_info("socket")
    return -1 if sock is None else int(sock.fileno())


def _hang_up(transport: Any) -> None:
    if (fileno := _fileno_of(transport)) >= 0:  # else it was closed meanwhile
        hang_up(fileno)


async def _send(**where: Any) -> None:
    await _cancel(loop=asyncio.get_running_loop(), **where)
