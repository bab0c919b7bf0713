"""Which connection the present thread prepares for its pool.

Preparing one may call hooks of Django's and of the site's, and those may ask for a connection to the same target. One of the
same pool's they would wait for in vain, since it is just being made: they get the one that is under preparation.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from time import monotonic
from typing import Any

from psycopg.pq import TransactionStatus


class Preparation:
    """``users`` are those that were given ``conn``, each with a ``close()`` by which it forgets it again."""

    __slots__ = ("began", "broken_off", "conn", "target", "users")

    def __init__(self, target: str, conn: Any) -> None:
        self.target, self.conn = target, conn
        self.began = monotonic()
        self.users: list[Any] = []
        self.broken_off = False


_present: ContextVar[Preparation | None] = ContextVar("poolmgr_preparation", default=None)

#: The preparation under way in the present thread, or None. Asked at every checkout, hence no function of ours in between.
present_preparation = _present.get


@contextmanager
def preparing(target: str, conn: Any) -> Iterator[Preparation]:
    """For the block, ``conn`` is what whoever asks in this thread for a connection to ``target`` is given."""
    mine = Preparation(target, conn)
    token = _present.set(mine)
    try:
        yield mine
    finally:
        _present.reset(token)
        for user in mine.users:
            user.close()


def expect_idle(conn: Any) -> None:
    """Raises ``RuntimeError`` where what prepared ``conn`` has left it in the middle of something, or closed it."""
    if conn.pgconn.transaction_status != TransactionStatus.IDLE:
        raise RuntimeError("the connection was left inside a transaction")
