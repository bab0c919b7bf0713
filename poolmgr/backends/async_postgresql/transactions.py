"""What transactions mean for a task's connection: when they end it may go back, and statement mode allows none."""

from __future__ import annotations

from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from typing import Any

from django.db import DatabaseError

from poolmgr.backends.async_postgresql.connection import DjangoConnection
from poolmgr.backends.async_postgresql.finding import PoolOfAlias
from poolmgr.backends.postgresql.transactions import refuse


class Transactions(PoolOfAlias):
    """The part of ``AsyncDatabaseWrapper`` that the package's transactions call."""

    _busy: int
    _unpooled: int
    connection: Any
    release_if_free: Any
    _return: Any

    async def get_autocommit(self) -> bool:
        """As the package's, but without taking a connection only to ask."""
        return True if self._would_begin_with_autocommit() else bool(await super().get_autocommit())

    def _would_begin_with_autocommit(self) -> bool:
        return self.connection is None and self.settings_dict["AUTOCOMMIT"] and self.managed_pool is not None

    async def set_autocommit(
        self, autocommit: bool, force_begin_transaction_with_broken_autocommit: bool = False
    ) -> None:
        self.validate_task_sharing()  # which the package leaves to whoever calls this
        if not autocommit:
            self.expect_transactions("atomic() or set_autocommit(False)")
        elif self._has_nothing_to_end():
            self.autocommit = True
            return
        self._busy += 1
        try:
            await super().set_autocommit(autocommit, force_begin_transaction_with_broken_autocommit)
        finally:
            self._busy -= 1
            self._count_transaction()
        if autocommit:
            self.release_if_free()

    def _has_nothing_to_end(self) -> bool:
        """Whether the next connection begins with autocommit, and is not to be taken only to say so."""
        hooks = self.run_commit_hooks_on_set_autocommit_on
        return self._would_begin_with_autocommit() and not self.in_atomic_block and not hooks

    def expect_transactions(self, what: str) -> None:
        """Raises ``ModeError`` in statement mode, for whoever is not exempt."""
        if self.pool_mode == "statement" and not self._unpooled:
            refuse(what, self.alias, self.managed_pool)

    def _count_transaction(self) -> None:
        """Cursors that were declared before may be gone."""
        if isinstance(conn := self.connection, DjangoConnection):
            conn._entry.transactions += 1

    async def _commit(self) -> None:
        await self._end_transaction(super()._commit())

    async def _rollback(self) -> None:
        await self._end_transaction(super()._rollback())

    async def _end_transaction(self, ending: Coroutine[Any, Any, None]) -> None:
        try:
            await ending
        except Exception:
            raise
        except BaseException:
            # Cancelled, so that the transaction may be open still: nobody goes on in it as if it were over.
            if not self.in_atomic_block:
                self._return()
            raise
        self._count_transaction()

    async def savepoint_rollback(self, sid: str) -> None:
        with self._broken_unless_done():
            await super().savepoint_rollback(sid)

    async def savepoint_commit(self, sid: str) -> None:
        with self._broken_unless_done():
            await super().savepoint_commit(sid)

    @contextmanager
    def _broken_unless_done(self) -> Iterator[None]:
        """Of an inner block whose end was broken off nobody knows whether it is undone: so the outer one is not committed."""
        try:
            yield
        except DatabaseError:
            raise
        except BaseException:
            self.needs_rollback = self.in_atomic_block
            raise

    async def _savepoint_rollback(self, sid: str) -> None:
        await super()._savepoint_rollback(sid)
        self._count_transaction()

    async def run_and_clear_commit_hooks(self) -> None:
        """Run them without the connection: they may take long, query or raise."""
        busy, self._busy = self._busy, 0
        try:
            self.release_if_free()
            await super().run_and_clear_commit_hooks()
        finally:
            self._busy = busy
