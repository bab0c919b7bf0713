"""For which request under ASGI a task's connection was taken, and who is told when that is over.

The package closes what is found in the context in which a request ends. Where a middleware is not async, a view has another
one, which is lost when the client hangs up in the middle of it. So what is held for a request is known by asgiref's mark of
it, which lives as long as somebody works for the request.
"""

from __future__ import annotations

from typing import Any, Protocol
from weakref import WeakKeyDictionary, WeakSet, ref

from asgiref.sync import SyncToAsync
from django.core.signals import request_finished

from poolmgr.backends.postgresql.lifecycle import latest_request

_mark = SyncToAsync.thread_sensitive_context


class Worker(Protocol):
    """``request_ended()`` is called in whatever thread."""

    def request_ended(self) -> None: ...


#: By the marks of requests that are under way.
_workers: WeakKeyDictionary[Any, WeakSet[Worker]] = WeakKeyDictionary()


def work_for_request(worker: Worker, before: ref[Any] | None) -> ref[Any] | None:
    """The mark of the present request, of whose end ``worker`` will hear; None where there is none.

    ``before`` is what this returned to the same worker the last time.
    """
    mark = _mark.get(None)
    if mark is None:
        return None
    if before is not None and before() is mark:
        return before
    request = latest_request()
    if request is None or not request.over:
        _workers.setdefault(mark, WeakSet()).add(worker)
    return ref(mark)


def is_over(mark: ref[Any] | None) -> bool:
    """Whether nobody works any more for the request of such a mark; not so where there was none."""
    return mark is not None and ((it := mark()) is None or it not in _workers)


def _end_request(**kwargs: Any) -> None:
    mark = _mark.get(None)
    if mark is not None and (workers := _workers.pop(mark, None)) is not None:
        for worker in list(workers):
            worker.request_ended()


request_finished.connect(_end_request, dispatch_uid="poolmgr.end_request_of_tasks")
