"""asyncpg's connection, which notes what is said on it and what is left of that.

The names of asyncpg's that are overridden or asked here are its own inside; the requirements bound its version.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import lru_cache
from itertools import chain
from typing import Any
from weakref import ref

from asyncpg.protocol.protocol import PreparedStatementState

from poolmgr.pools.aio.bridge import running_loop
from poolmgr.pools.forks import attend, here
from poolmgr.pools.sql.pinning import BEGINS, reasons
from poolmgr.targets.asyncpg.library import asyncpg
from poolmgr.targets.asyncpg.naming import renames
from poolmgr.targets.asyncpg.resources import of_its_checkout

#: How types are read and written, and a statement that asyncpg closes whenever its borrower drops it, whoever has prepared
#: another by the same name: only another connection undoes these.
CODEC, NAMED = "type codec", "statement prepared by a name"
#: Longer statements are not remembered.
_LONG = 4096


def _look(statement: str) -> tuple[frozenset[str], bool]:
    """What a statement leaves, and whether names may mean something else from then on."""
    found = reasons(statement)
    return found - {BEGINS}, renames(statement, found)


_remembered = lru_cache(maxsize=2048)(_look)


class Noting(asyncpg.Connection):  # type: ignore[misc]
    """``left`` says what its borrower's statements have left in the session, ``said`` counts them. ``learn`` is told of types
    that it meets for the first time, before they are used.
    """

    __slots__ = ("_checkouts", "_copies", "_lent", "_of_the_site", "_renamed", "_trial", "learn", "left", "said")

    def __init__(self, *args: Any) -> None:
        self.said = self._checkouts = self._copies = 0
        self.left: frozenset[str] = frozenset()
        self._renamed = False  # whether names may mean something else than at a checkout's beginning
        self._lent: Any = None
        self.learn: Callable[[Noting, Any], object] | None = None
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
        left, renamed = _remembered(statement) if len(statement) <= _LONG else _look(statement)
        if left:
            self.left |= left
        if renamed:
            self._renamed = True

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
        if self._renamed:
            kwargs["use_cache"] = False
        return super()._get_statement(query, *args, **kwargs)  # type: ignore[no-any-return]

    async def _copy_out(self, copy_stmt: str, *args: Any) -> str:
        self._check_open()
        self._note(copy_stmt)
        self._copies += 1  # while what came is written, asyncpg waits for nothing
        try:
            told = await super()._copy_out(copy_stmt, *args)
        except (Exception, asyncio.CancelledError):  # for no other does asyncpg stop it
            self._copies -= 1
            raise
        self._copies -= 1
        return told  # type: ignore[no-any-return]

    async def _copy_in(self, copy_stmt: str, *args: Any) -> str:
        self._check_open()
        self._note(copy_stmt)
        return await super()._copy_in(copy_stmt, *args)  # type: ignore[no-any-return]

    async def copy_records_to_table(self, table_name: str, *, where: str | None = None, **kwargs: Any) -> str:
        """asyncpg's."""
        self._check_open()
        self._note(where or "")
        return await super().copy_records_to_table(table_name, where=where, **kwargs)  # type: ignore[no-any-return]

    async def add_listener(self, *args: Any, **kwargs: Any) -> None:
        """asyncpg's, which says nothing to the server where the site listens to that channel already."""
        self.left |= {"LISTEN"}
        await super().add_listener(*args, **kwargs)

    async def remove_listener(self, *args: Any, **kwargs: Any) -> None:
        """The same."""
        self.left |= {"LISTEN"}
        await super().remove_listener(*args, **kwargs)

    async def _introspect_types(self, *args: Any) -> Any:
        # asyncpg switches a setting off for this, and on again.
        left = self.left
        types, statement = await super()._introspect_types(*args)
        self.left = left
        if self.learn is not None:
            self.learn(self, types)
        return types, statement

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

    # -- what it hands out --------------------------------------------------------------------------------------------

    def transaction(self, **kwargs: Any) -> Any:
        """asyncpg's."""
        return of_its_checkout(super().transaction(**kwargs))

    def cursor(self, *args: Any, **kwargs: Any) -> Any:
        """asyncpg's."""
        return of_its_checkout(super().cursor(*args, **kwargs))

    async def prepare(self, *args: Any, **kwargs: Any) -> Any:
        """asyncpg's."""
        return of_its_checkout(await super().prepare(*args, **kwargs))

    # -- between two borrowers ----------------------------------------------------------------------------------------

    def begin(self) -> None:
        """What is on it by now is the site's, and stays."""
        self.left = frozenset()
        self._renamed = False
        self._of_the_site = tuple(frozenset(each) for each in self._hooks())

    def _hooks(self) -> tuple[set[Any], ...]:
        return self._log_listeners, self._query_loggers, self._termination_listeners

    def end_checkout(self) -> None:
        """Cut off whatever a borrower has kept of it, and what they were told of it by; asyncpg warns of some."""
        self._checkouts += 1
        self._renamed = False
        if "LISTEN" in self.left:
            self._check_listeners(list(chain.from_iterable(self._listeners.values())), "notification")
        for has, had in zip(self._hooks(), self._of_the_site, strict=True):
            if has != had:
                if has is self._log_listeners:
                    self._check_listeners(has - had, "log")
                has.intersection_update(had)
                if not self.is_closed():
                    has.update(had)

    @property
    def is_as_it_was(self) -> bool:
        """Whether whoever has it next finds what the site has made it, and nobody is at anything."""
        return not (self.left or self._top_xact is not None or self._protocol.is_in_transaction() or self.is_at_work)

    @property
    def is_at_work(self) -> bool:
        """Whether something is under way, of which asyncpg tells nobody but who asks for something else."""
        protocol = self._protocol
        if self._copies or protocol._is_cancelling():
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
