"""Which task uses a connection, for which request, and what becomes of it when they are gone without a word."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from contextvars import Context
from typing import Any
from weakref import ref

from poolmgr.backends.async_postgresql.connection import POOLED_OR_OWN
from poolmgr.backends.async_postgresql.requests import is_over
from poolmgr.backends.async_postgresql.transactions import Transactions
from poolmgr.backends.async_postgresql.unfinished import Blocks, is_finalizing


class OwnedByTask(Transactions):
    """The part of ``AsyncDatabaseWrapper`` that knows whose it is."""

    _blocks: Blocks
    savepoint_ids: list[str | None]
    _loop: asyncio.AbstractEventLoop | None
    _request: ref[Any] | None

    def validate_task_sharing(self) -> None:
        """As the package's, but that a task may go on with what one has used that has ended.

        Where a middleware is not async, Django runs the view in a task of its own, and streams in another what it returned.
        """
        before = self._task
        if before is not None and before.done():
            self._task = None
        super().validate_task_sharing()
        if self._task is not None and self._task is not before:
            # In a context of nobody's: the present one has the wrapper, which the task would keep.
            self._task.add_done_callback(_tell(ref(self)), context=Context())

    def may_be_used(self) -> bool:
        """Whether somebody may go on with the connection: the task that has used it, or another of its request."""
        goes_on = self._task is not None and not self._task.done()
        return goes_on or (self._request is not None and not is_over(self._request))

    @property
    def atomic_blocks(self) -> Blocks:
        """Those of ``async_atomic()`` that are open."""
        return self._blocks

    @atomic_blocks.setter
    def atomic_blocks(self, blocks: list[Any]) -> None:
        self._blocks = Blocks(self, blocks)

    def is_another_s(self) -> bool:
        """Whether another task uses the connection than the running one."""
        owner = self._task
        return owner is not None and not owner.done() and owner is not asyncio.current_task()

    def close(self) -> Coroutine[Any, Any, None]:
        """As the package's, but for what a generator that nobody has finished would close, in whosever context it ends."""
        if self.is_another_s() and is_finalizing():
            return _do_nothing()
        closing: Coroutine[Any, Any, None] = super().close()
        return closing

    def abandon(self) -> None:
        """Give the connection up in the middle of a transaction, whose task may go on with another."""
        self.closed_in_transaction, self.savepoint_ids = True, []
        self._return()

    def request_ended(self) -> None:
        """Called when the request is over that the connection was taken for, in whatever thread."""
        if self.connection is not None and self._loop is not None:
            with suppress(RuntimeError):  # it is closed
                self._loop.call_soon_threadsafe(self._give_up_if_over)

    def _task_ended(self, task: asyncio.Task[Any]) -> None:
        # Of what a cancelled one had its request may know nothing more.
        if task is self._task and (task.cancelled() or is_over(self._request)):
            self._give_up()

    def _give_up_if_over(self) -> None:
        """Unless a task has it still, which comes to its end first, such as one that is being cancelled."""
        if is_over(self._request) and (self._task is None or self._task.done()):
            self._give_up()

    def _give_up(self) -> None:
        """As ``close()``."""
        if isinstance(self.connection, POOLED_OR_OWN):
            if self.in_atomic_block:
                self.closed_in_transaction = self.needs_rollback = True
            self._mode = None
            self._return()

    def __del__(self) -> None:
        """Nobody can close it any more, as after an ``async_new_connection()`` whose task was cancelled at its end."""
        conn = self.__dict__.get("connection")
        if isinstance(conn, POOLED_OR_OWN) and self._loop is not None:
            with suppress(RuntimeError):  # the loop is closed
                self._loop.call_soon_threadsafe(conn.part)


async def _do_nothing() -> None: ...


def _tell(wrapper: ref[OwnedByTask]) -> Callable[[asyncio.Task[Any]], None]:
    """What a task calls when it has ended, which keeps nobody's wrapper."""

    def ended(task: asyncio.Task[Any]) -> None:
        if (it := wrapper()) is not None:
            it._task_ended(task)

    return ended
