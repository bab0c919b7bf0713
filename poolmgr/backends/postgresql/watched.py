"""A connection that notices statements which no cursor of ours has looked at."""

from __future__ import annotations

from typing import Any

from poolmgr.pools.forks import attend, here
from poolmgr.targets.postgresql.connection import PooledConnection

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
        if args or kwargs:
            return super(PooledConnection, self).wait(gen, *args, **kwargs)
        return super(PooledConnection, self).wait(gen)
