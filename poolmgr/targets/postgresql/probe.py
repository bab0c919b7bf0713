"""One look at a PostgreSQL server through a connection of its own."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic, perf_counter
from typing import Any

import psycopg
from django.db import connections
from psycopg.rows import tuple_row

from poolmgr.pools.diagnosis import diagnose, words_of
from poolmgr.pools.endings import ended_after
from poolmgr.pools.labels import Label, labelled
from poolmgr.pools.looking import Look
from poolmgr.pools.sql import figures
from poolmgr.targets.postgresql.lending import Glance
from poolmgr.targets.postgresql.liveness import PATIENCE, NoAnswer, break_off, validate
from poolmgr.targets.postgresql.parameters import connection_parameters
from poolmgr.targets.postgresql.parting import part

#: For whom a pool's connection is held meanwhile.
_LABEL = Label("command", "a look at the server")


def look(target: str, look: Look, query: Callable[[], str], deadline: float, silence: float) -> None:
    """As ``pools.looking.Prober`` has it."""
    began = perf_counter()
    with psycopg.connect(**parameters(target, deadline - monotonic()), autocommit=True) as connection:
        look.connect_time = perf_counter() - began
        look.connected = True
        asked = query()
        began = perf_counter()
        _validate(connection, asked, deadline, look)
        look.query_time = perf_counter() - began
        _count(connection, look, deadline, silence)


def look_within(pool: Any, look: Look, deadline: float, silence: float) -> None:
    """Over a connection of this process's ``pool``, as one of its borrowers: for a server that lets nobody else in."""
    with labelled(_LABEL), pool.connection(Glance(max(0.0, deadline - monotonic()))) as connection:
        look.connected = True
        _count(connection, look, deadline, silence)
        if not look.behind_pooler:
            # This one stays.
            look.ids = [*(look.ids or ()), connection.info.backend_pid]
            look.used = len(look.ids)


def _count(connection: psycopg.Connection[Any], look: Look, deadline: float, silence: float) -> None:
    left = max(0.0, deadline - monotonic())
    with ended_after(left, lambda: break_off(connection)), connection.cursor(row_factory=tuple_row) as cursor:
        [answer] = cursor.execute(figures.asking(silence)).fetchone() or ("{}",)
        figures.fill(look, answer, connection.info.backend_pid)


def parameters(target: str, timeout: float) -> dict[str, Any]:
    """How to connect to an alias within about ``timeout`` seconds."""
    wrapper: Any = connections[target]
    wrapper.check_settings()
    # libpq knows whole seconds and no less than 2; the deadline may be earlier.
    given = {**wrapper.get_connection_params(), "connect_timeout": max(2, round(timeout))}
    return connection_parameters(given, timeout)


def _validate(connection: psycopg.Connection[Any], query: str, deadline: float, look: Look) -> None:
    try:
        validate(connection, query, deadline)
    except NoAnswer:
        # Whoever asks for the result has it by now. The query may wait still, in one session more at each check.
        part(connection, PATIENCE)
        raise
    except psycopg.OperationalError as error:
        if connection.closed:
            raise
        look.refuse(diagnose(error).sentence, words_of(error))
    else:
        look.query_error = ""
