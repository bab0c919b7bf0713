"""psycopg's cursors for tasks, which look at what they are about to execute."""

from __future__ import annotations

from functools import cache
from typing import Any, get_origin

import psycopg

from poolmgr.pools.sql.pinning import BEGINS, reasons

#: Of psycopg's generators, those that run what a borrower asks for; the statement is their first argument.
RUNS = frozenset({"_execute_gen", "_executemany_gen_no_pipeline", "_executemany_gen_pipeline", "_stream_send_gen"})
RUNS |= {"_start_copy_gen", "_declare_gen"}


def _looking(name: str) -> Any:
    def run(self: Looking, query: Any, *args: Any, **kwargs: Any) -> Any:
        self._look(query)
        # Between here and the connection's wait() nothing else comes, since psycopg awaits the one with the other.
        self._conn.looked_at = gen = getattr(super(Looking, self), name)(query, *args, **kwargs)
        return gen

    return run


class Looking:
    """Mixed into psycopg's cursor classes. What pins is noted in the entry of the connection."""

    _conn: Any

    def _look(self, query: Any) -> None:
        self._conn.note(query)
        # A transaction pins nothing: libpq tells when it is over.
        if found := reasons(query, self._conn) - {BEGINS}:
            self._conn.pin(found)
        if getattr(self, "_withhold", False):
            # The server has it until it is closed, also when it is only forgotten.
            self._conn.pin({"cursor WITH HOLD"})

    _execute_gen = _looking("_execute_gen")
    _executemany_gen_no_pipeline = _looking("_executemany_gen_no_pipeline")
    _executemany_gen_pipeline = _looking("_executemany_gen_pipeline")
    _stream_send_gen = _looking("_stream_send_gen")
    _start_copy_gen = _looking("_start_copy_gen")
    _declare_gen = _looking("_declare_gen")


@cache
def looking(factory: Any) -> type[Any]:
    """A cursor class, of the site's own too, as one that looks."""
    theirs: type[Any] = get_origin(factory) or factory
    return theirs if issubclass(theirs, Looking) else type(theirs.__name__, (Looking, theirs), {})


CURSOR, SERVER_CURSOR = looking(psycopg.AsyncCursor), looking(psycopg.AsyncServerCursor)
