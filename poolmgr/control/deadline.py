"""A deadline for work on a Django connection whose server may have gone silent."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Timer

import psycopg
from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper


@contextmanager
def deadline(alias: str, seconds: float) -> Iterator[None]:
    """Break this thread's connection to ``alias`` when the block takes longer than ``seconds``.

    Whoever waits for an answer on it then gets an ``OperationalError``. A statement_timeout would not do: a stopped
    server or a cable that was pulled keeps no time. Connecting is bounded by ``connect_timeout``.
    """
    timer = Timer(seconds, _break, [connections[alias]])
    timer.name, timer.daemon = "poolmgr-deadline", True
    try:
        timer.start()
    except RuntimeError:
        pass  # the interpreter ends and starts no thread any more; then this thread ends with it
    try:
        yield
    finally:
        timer.cancel()


def _break(wrapper: BaseDatabaseWrapper) -> None:
    raw = wrapper.connection
    if not isinstance(raw, psycopg.Connection):
        return
    try:
        # A copy of the descriptor: shutting down the copy ends the conversation, and libpq still closes its own.
        with socket.socket(fileno=os.dup(raw.fileno())) as copy:
            copy.shutdown(socket.SHUT_RDWR)
    except (psycopg.Error, OSError):
        pass  # closed meanwhile
