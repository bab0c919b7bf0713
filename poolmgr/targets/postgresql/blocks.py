"""The blocks of ``pinned()`` and the like, for threads and for tasks."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from typing import Any

from asgiref.sync import sync_to_async
from django.utils.asyncio import async_unsafe

from poolmgr.targets.postgresql.handing import wrapper, wrapper_for_tasks


class Block:
    """``with`` is about the connection of the thread, ``async with`` about that by which a view that awaits queries.

    That is the task's where the ENGINE has a half for tasks, and else that of the thread in which Django's own methods
    that begin with ``a`` query. ``name`` is the method that Django's connections have for it. Entered twice, it raises
    ``RuntimeError``.
    """

    __slots__ = ("_entered", "_name", "_using")

    def __init__(self, name: str, using: str) -> None:
        self._name, self._using = name, using

    def __enter__(self) -> None:
        _expect_thread()
        self._expect_new()
        self._entered: Any = _of(wrapper(self._using), self._name)
        self._entered.__enter__()

    def __exit__(self, *exc: Any) -> None:
        self._entered.__exit__(*exc)

    async def __aenter__(self) -> None:
        self._expect_new()
        found = wrapper_for_tasks(self._using)
        self._entered = InThread(self._using, self._name) if found is None else _of(found, self._name)
        await self._entered.__aenter__()

    async def __aexit__(self, *exc: Any) -> None:
        await self._entered.__aexit__(*exc)

    def _expect_new(self) -> None:
        if hasattr(self, "_entered"):
            raise RuntimeError(f"this block of {self._name}() was entered before: call poolmgr.{self._name}() for each")


def _of(found: Any, name: str) -> Any:
    return getattr(found, name)()


@async_unsafe("In an event loop this is a block of 'async with': a task does not query by its thread's connection.")
def _expect_thread() -> None:
    """Raises ``SynchronousOnlyOperation``, unless the site allows what it can't do without."""


class InThread(AbstractAsyncContextManager[None]):
    """A block of the thread's connection, entered and left there by a task that goes on meanwhile.

    Neither can be cut off in the middle: who is cancelled hears of that when it is over.
    """

    def __init__(self, using: str, name: str) -> None:
        self._using, self._name = using, name

    async def __aenter__(self) -> None:
        try:
            await _whole(self._enter)
        except asyncio.CancelledError:
            await _whole(self._leave)
            raise

    async def __aexit__(self, *exc: Any) -> None:
        await _whole(self._leave)

    def _enter(self) -> None:
        block: AbstractContextManager[None] = _of(wrapper(self._using), self._name)
        block.__enter__()
        self._block = block

    def _leave(self) -> None:
        if (block := self.__dict__.pop("_block", None)) is not None:
            block.__exit__(None, None, None)


async def _whole(work: Callable[[], None]) -> None:
    """Have ``work`` done in the thread by which the task's request queries. Whoever is cancelled waits for its end."""
    done = asyncio.ensure_future(sync_to_async(work)())
    cancelled: asyncio.CancelledError | None = None
    while not done.done():
        try:
            await asyncio.wait({done})
        except asyncio.CancelledError as ex:
            cancelled = ex
    if cancelled is not None:
        done.exception()  # which nobody asks for
        raise cancelled
    done.result()
