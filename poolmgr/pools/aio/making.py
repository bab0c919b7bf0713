"""A connect that may be given up in the moment in which it succeeds."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any


class Making:
    """``begin`` connects, in the loop. What was made when nobody wants it any more is let go of by whoever sees that."""

    def __init__(self, begin: Callable[[], Coroutine[Any, Any, Any]], let_go: Callable[[Any], object]) -> None:
        self._begin, self._let_go = begin, let_go
        self._made: list[Any] = []
        self._given_up = False

    async def make(self) -> Any:
        """In the loop."""
        self._made.append(await self._begin())
        if self._given_up:
            self._let_go_of_it()
            raise asyncio.CancelledError
        return self._made.pop()

    def give_up(self) -> None:
        """From any thread."""
        self._given_up = True
        self._let_go_of_it()

    def _let_go_of_it(self) -> None:
        with suppress(IndexError):
            self._let_go(self._made.pop())
