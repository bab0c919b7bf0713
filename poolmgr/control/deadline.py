"""A deadline for work on a Django connection whose server may have gone silent."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Timer
from typing import Any

import psycopg
from django.db import connections

from poolmgr.pools.liveness import hang_up


@contextmanager
def deadline(alias: str, seconds: float) -> Iterator[None]:
    """Break this thread's connection to ``alias`` when the block takes longer than ``seconds``.

    Whoever waits for an answer on it then gets an ``OperationalError``. A statement_timeout would not do: a stopped
    server or a cable that was pulled keeps no time. Connecting is bounded by ``connect_timeout``.
    """
    wrapper = connections[alias]
    with ended_after(seconds, lambda: _break(wrapper.connection)):
        yield


@contextmanager
def ended_after(seconds: float, end: Callable[[], object]) -> Iterator[None]:
    """Call ``end``, in another thread, when the block takes longer than ``seconds``."""
    timer = Timer(seconds, end)
    timer.name, timer.daemon = "poolmgr-deadline", True
    try:
        timer.start()
    except RuntimeError:
        pass  # the interpreter ends and starts no thread any more; then this thread ends with it
    try:
        yield
    finally:
        timer.cancel()


def _break(connection: Any) -> None:
    if isinstance(connection, psycopg.Connection):
        hang_up(connection)
