"""What a process and its requests do to the wrappers: requests keep their mode, forked children forget connections."""

from __future__ import annotations

from contextvars import ContextVar
from typing import Any
from weakref import WeakSet

from django.core.signals import request_finished, request_started

from poolmgr.pools import inherited, registry

#: Whether a request is under way, which then keeps the mode that it began with.
in_request: ContextVar[bool] = ContextVar("poolmgr_in_request", default=False)
#: Every database wrapper of this process; each offers ``drop_inherited()``.
wrappers: WeakSet[Any] = WeakSet()


def _begin_request(**kwargs: Any) -> None:
    in_request.set(True)


def _end_request(**kwargs: Any) -> None:
    in_request.set(False)


def _after_fork() -> None:
    for wrapper in list(wrappers):
        if wrapper.connection is not None and getattr(wrapper.connection, "entry", None) is None:
            inherited.let_go([wrapper.connection])  # a direct one, of which no pool knows
        wrapper.drop_inherited()


registry.on_fork(_after_fork)
request_started.connect(_begin_request, dispatch_uid="poolmgr.begin_request")
request_finished.connect(_end_request, dispatch_uid="poolmgr.end_request")
