"""How many requests this process can serve at once, as its web server has it; nothing of a server is imported for that."""

from __future__ import annotations

import signal
import sys
from typing import Any, NamedTuple


class Threads(NamedTuple):
    """How many there are for requests, and how many requests wait for one, as far as that is known."""

    number: int
    waiting: int = 0


def request_threads() -> Threads | None:
    """None where nobody tells, or where requests take no thread each, as those of asyncio."""
    return _gunicorn() or _uwsgi()


def _gunicorn() -> Threads | None:
    """A worker of its stands behind the handlers of its signals."""
    worker = getattr(signal.getsignal(signal.SIGTERM), "__self__", None)
    if not type(worker).__module__.startswith("gunicorn.workers."):
        return None
    kind = type(worker).__module__.rpartition(".")[2]
    if kind == "sync":
        return Threads(1)
    number = getattr(getattr(worker, "cfg", None), "threads", None)
    if kind != "gthread" or not isinstance(number, int) or number < 1:
        return None
    return Threads(number, _queued(getattr(worker, "tpool", None)))


def _queued(executor: Any) -> int:
    """No API tells it: 0 where it lies elsewhere in another version."""
    try:
        return int(executor._work_queue.qsize())
    except (AttributeError, TypeError, NotImplementedError):
        return 0


def _uwsgi() -> Threads | None:
    uwsgi = sys.modules.get("uwsgi")
    if uwsgi is None:
        return None
    try:
        return Threads(max(1, int(uwsgi.opt.get("threads", 1))))
    except (AttributeError, TypeError, ValueError):
        return None
