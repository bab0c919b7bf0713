"""The console lane: how the admin, the dashboard and the agent reach the database when the pool can't serve them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any


class Work:
    """One piece of work on the lane: a request, a task, an agent's turn. ``memory`` is what its parts tell each other."""

    __slots__ = ("memory",)

    def __init__(self) -> None:
        self.memory: dict[object, Any] = {}


_console: ContextVar[Work | None] = ContextVar("poolmgr_console_lane", default=None)


@contextmanager
def console_lane(anew: bool = False) -> Iterator[None]:
    """Inside it, whoever must connect takes an idle connection if one is there at once, and else a direct one.

    ``anew`` it is a piece of work of its own, which knows nothing of the one around it.
    """
    token = _console.set(Work() if anew else _console.get() or Work())
    try:
        yield
    finally:
        _console.reset(token)


#: The work under way in the present thread or task, None where it is not on the lane.
present_work = _console.get
#: The same as a question. Asked at every checkout, hence no function of ours in between.
on_console_lane = _console.get
