"""The console lane: how the admin, the dashboard and the agent reach the database when the pool can't serve them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_console: ContextVar[bool] = ContextVar("poolmgr_console_lane", default=False)


@contextmanager
def console_lane() -> Iterator[None]:
    """Inside it, whoever must connect takes an idle connection if one is there at once, and else a direct one."""
    token = _console.set(True)
    try:
        yield
    finally:
        _console.reset(token)


#: Whether the present thread or task is on the lane. Asked at every checkout, hence no function of ours in between.
on_console_lane = _console.get
