"""A deadline for work on a Django connection whose server may have gone silent."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import psycopg
from django.db import connections

from poolmgr.pools.endings import ended_after
from poolmgr.pools.sockets import hang_up


@contextmanager
def deadline(alias: str, seconds: float) -> Iterator[None]:
    """Break this thread's connection to ``alias`` when the block takes longer than ``seconds``.

    Whoever waits for an answer on it then gets an ``OperationalError``. A statement_timeout would not do: a stopped
    server or a cable that was pulled keeps no time. Connecting is bounded by ``connect_timeout``.
    """
    wrapper = connections[alias]
    with ended_after(seconds, lambda: _break(wrapper.connection)):
        yield


def _break(connection: Any) -> None:
    if isinstance(connection, psycopg.Connection):
        with suppress(psycopg.Error):  # closed meanwhile
            hang_up(connection.fileno())
