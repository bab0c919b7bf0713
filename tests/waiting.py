"""Waiting for a condition instead of for a time."""

import asyncio
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def until(condition: Callable[[], T], what: str | Callable[[], str] = "the condition", timeout: float = 10.0) -> T:
    """Ask `condition` again and again; its first true answer, or an AssertionError after `timeout` seconds.

    `what` may also be asked for only then, where it is to say how things stand.
    """
    deadline = time.monotonic() + timeout
    while not (answer := condition()):
        if time.monotonic() >= deadline:
            raise AssertionError(f"{what if isinstance(what, str) else what()} did not come true within {timeout:g} s")
        time.sleep(0.01)
    return answer


async def when(condition: Callable[[], T], what: str = "the condition", timeout: float = 10.0) -> T:
    """`until()` for a task."""
    deadline = time.monotonic() + timeout
    while not (answer := condition()):
        assert time.monotonic() < deadline, f"{what} did not come true within {timeout:g} s"
        await asyncio.sleep(0.005)
    return answer
