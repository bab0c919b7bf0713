"""Which ``async_atomic()`` blocks are open on a task's connection, and who may end one.

A generator that nobody has finished is ended by the event loop, in a task of its own and in the context in which it was
collected, which may be another request's: there the package's block finds that request's connection.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterable
from typing import Any, Protocol, SupportsIndex
from weakref import ref


class Owned(Protocol):
    """``is_another_s()`` tells whether another task has the connection that goes on; ``abandon()`` gives it up."""

    def is_another_s(self) -> bool: ...

    def abandon(self) -> None: ...


class Blocks(list[Any]):
    """Of one connection, which is not kept by it."""

    def __init__(self, owned: Owned, blocks: Iterable[Any] = ()) -> None:
        super().__init__(blocks)
        self._owned = ref(owned)

    def pop(self, index: SupportsIndex = -1) -> Any:
        """Called first of all by a block that ends. Raises ``RuntimeError`` where it is none of this connection's."""
        owned = self._owned()
        if owned is not None and owned.is_another_s():
            ends = sys._getframe(1).f_locals.get("self")  # nothing else tells which block asks
            if not any(each is ends for each in self):
                raise RuntimeError("this block of async_atomic() was begun on another connection")
            if len(self) == 1:
                owned.abandon()
        return super().pop(index)


def is_finalizing() -> bool:
    """Whether the running task is the event loop's, which ends a generator."""
    task = asyncio.current_task()
    return task is not None and type(task.get_coro()).__name__ == "async_generator_athrow"
