"""A connection that notices statements which no cursor of ours has looked at."""

from __future__ import annotations

from time import monotonic
from typing import Any

from poolmgr.pools.forks import attend, here
from poolmgr.targets.postgresql.connection import PooledConnection
from poolmgr.targets.postgresql.session import ASKING, KEPT

#: psycopg's generators that run what a borrower asks for.
_RUNS = frozenset({"_execute_gen", "_executemany_gen_no_pipeline", "_executemany_gen_pipeline", "_stream_send_gen"})
_RUNS |= {"_start_copy_gen", "_declare_gen"}


class WatchedConnection(PooledConnection):
    """``announced`` is set by a cursor of ours while the statement runs that it has looked at.

    A cursor of another class, made by ``psycopg.ClientCursor(connection)`` and the like, announces nothing: its statements
    pin, whatever they are.
    """

    announced = False

    def wait(self, gen: Any, *args: Any, **kwargs: Any) -> Any:
        if not self.announced and gen.__name__ in _RUNS:
            self._pin("cursor of another class")
        if not here:
            attend()
        entry = self.entry
        if args or kwargs or entry is None:
            return super().wait(gen, *args, **kwargs)
        # As there, by shorter ways.
        began = monotonic()
        if entry.doing:
            entry.kept += began - entry.marked
        entry.doing = ASKING
        entry.marked = began
        try:
            return super(PooledConnection, self).wait(gen)
        finally:
            entry.marked = now = monotonic()
            entry.sql += now - began
            at_rest = not entry.cursors and self._autocommit and not self.pgconn.transaction_status
            entry.doing = entry.unasked(True) if at_rest else KEPT
