"""What a process and its requests do to the wrappers: requests keep their mode, forked children forget connections."""

from __future__ import annotations

import logging
from contextvars import ContextVar
from threading import get_ident
from typing import Any
from weakref import WeakKeyDictionary, WeakSet

from asgiref.sync import SyncToAsync
from django.core.signals import request_finished, request_started

from poolmgr.pools.forks import on_fork
from poolmgr.pools.inherited import let_go

logger = logging.getLogger("poolmgr.pool")


class Request:
    """A request, with the thread in which Django will end it and close what it used there, where that is known."""

    __slots__ = ("over", "thread")

    def __init__(self, thread: int | None) -> None:
        self.thread = thread
        self.over = False


_in_context: ContextVar[Request | None] = ContextVar("poolmgr_request", default=None)
#: Under ASGI the signals are received in a copy of the request's context, from where nothing that is set reaches the request.
#: What it shares with all who work for it is asgiref's mark, by which it has a thread of its own.
_mark = SyncToAsync.thread_sensitive_context
_by_mark: WeakKeyDictionary[Any, Request] = WeakKeyDictionary()
#: Every database wrapper of this process; each offers ``drop_inherited()``.
wrappers: WeakSet[Any] = WeakSet()


def latest_request() -> Request | None:
    """The request that this thread or task works for; it may be over."""
    mark = _mark.get(None)
    if mark is None:
        return _in_context.get()
    # One that began before this module was loaded sent its signal to nobody.
    return _by_mark.get(mark) or _by_mark.setdefault(mark, Request(None))


def _begin_request(**kwargs: Any) -> None:
    if (mark := _mark.get(None)) is not None:
        _by_mark[mark] = Request(get_ident())
    else:
        _in_context.set(Request(get_ident()))


def _end_request(**kwargs: Any) -> None:
    if request := latest_request():
        request.over = True


def _after_fork() -> None:
    for wrapper in list(wrappers):
        if wrapper.connection is not None and getattr(wrapper.connection, "entry", None) is None:
            # A direct one, of which no pool knows. It leads nowhere now; left open, it would be complained of.
            let_go(wrapper.connection, wrapper.connection.fileno, None)
            wrapper.connection.close()
        try:
            wrapper.drop_inherited()
        except Exception:  # a subclass's close()
            logger.exception(
                "the connection to %r is the parent's and forgotten, but its close() failed", wrapper.alias
            )


on_fork(_after_fork)
request_started.connect(_begin_request, dispatch_uid="poolmgr.begin_request")
request_finished.connect(_end_request, dispatch_uid="poolmgr.end_request")
