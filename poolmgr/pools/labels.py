"""For whom connections are held: the view, task or command that the present thread or task works for."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from poolmgr.metrics.words import plain

#: The longest that is told of a name, and of a request's id.
_LONGEST, _LONGEST_ID = 200, 100


class Label:
    """``name`` is a method and a route, or a task's or a command's name; ``request`` is the id that its user may know.

    One object for all of a request or task, so that what is learnt of it later is told of what it holds already.
    """

    __slots__ = ("key", "kind", "name", "request")

    def __init__(self, kind: str, name: str, request: str = "") -> None:
        self.kind = kind  # view, task or command
        self.name = plain(name[:_LONGEST])
        self.key = kind, self.name  # by which uses are counted
        self.request = plain(request[:_LONGEST_ID])

    def __str__(self) -> str:
        return f"{self.name}[{self.request}]" if self.request else self.name


_current: ContextVar[Label | None] = ContextVar("poolmgr_label", default=None)
#: The label of whoever asks, or None. Read at each checkout.
current_label = _current.get
#: Begins another label, for the present thread or task and what they start from now on, where those take its context over.
set_label = _current.set


@contextmanager
def labelled(label: Label) -> Iterator[None]:
    """What is checked out in the block is held for ``label``."""
    before = _current.set(label)
    try:
        yield
    finally:
        _current.reset(before)
