"""A deadline for work on a Django connection whose server may have gone silent."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from threading import Event
from typing import Any

import psycopg
from django.db import connections
from psycopg.pq import TransactionStatus

from poolmgr.pools.endings import ended_after
from poolmgr.pools.sockets import hang_up

#: The longest between two looks whether an answer is waited for, in seconds.
_LOOK = 1.0


@contextmanager
def deadline(alias: str, seconds: float) -> Iterator[None]:
    """Break this thread's connection to ``alias`` when the block takes longer than ``seconds`` and waits for it.

    Whoever waits for an answer on it then gets an ``OperationalError``. A statement_timeout would not do: a stopped
    server or a cable that was pulled keeps no time. Connecting is bounded by ``connect_timeout``. A block that has waited
    for something else, such as a cache, has done the server no wrong: its connection breaks when two looks in a row find it
    at a statement.
    """
    wrapper = connections[alias]
    over = Event()
    between = min(_LOOK, seconds / 4)

    def watch() -> None:
        waits = False
        while True:
            before, waits = waits, _waits(wrapper.connection)
            if before and waits:
                _break(wrapper.connection)
                waits = False
            if over.wait(between):
                return

    with ended_after(seconds - between, watch):
        try:
            yield
        finally:
            over.set()


def _waits(connection: Any) -> bool:
    if not isinstance(connection, psycopg.Connection):
        return False
    try:
        return bool(connection.pgconn.transaction_status == TransactionStatus.ACTIVE)
    except psycopg.Error:  # closed meanwhile
        return False


def _break(connection: Any) -> None:
    if isinstance(connection, psycopg.Connection):
        with suppress(psycopg.Error):  # closed meanwhile
            hang_up(connection.fileno())
