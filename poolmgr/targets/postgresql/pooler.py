"""Whether a connection leads to the server itself, or to a pooler before it, such as a PgBouncer, and by what that pools.

A pooler tells each of its clients a number of its own making where the server tells its process's: it is good for a cancel,
and for nothing else. What the server itself says is another then.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from time import monotonic
from typing import Any

from psycopg import OperationalError
from psycopg.pq import TransactionStatus

from poolmgr.targets.postgresql.liveness import PATIENCE, NoAnswer, Steps, ask, asking, wait_for

_PID = "SELECT pg_backend_pid()"
#: Seconds in which a server that a pooler has at hand answers.
_PROMPTLY = 0.5
#: Whose turn it is to ask, so that neither one server nor two that take turns look like one each.
_TURNS = (0, 1, 1, 0, 0, 1, 0, 1, 1, 1, 0, 0, 1, 0)


def server_pid(connection: Any, seconds: float = PATIENCE) -> int:
    """The server's process behind ``connection`` now; 0 or less where the server knows no such thing.

    Raises ``NoAnswer`` after so many seconds, and ``psycopg.Error`` where the connection broke.
    """
    try:
        return int(ask(connection, _PID, monotonic() + seconds) or 0)
    except NoAnswer:
        raise
    except OperationalError as ex:
        if ex.sqlstate is None or connection.closed:
            raise
        return 0


def is_behind_pooler(connection: Any, pid: int) -> bool:
    """Whether the process ``pid`` that has answered is another than the one that the connection was told of."""
    return pid > 0 and pid != connection.pgconn.backend_pid


def is_shared(connection: Any, connect: Callable[[], Any]) -> bool:
    """Whether a pooler hands ``connection``'s server connection on between statements, as PgBouncer's session mode doesn't.

    To see that takes two that are in no transaction: ``connect`` opens others to the same place, which are closed again,
    and both ask which process answers. Raises ``NoAnswer`` where two seconds don't tell, and ``psycopg.Error``.
    """
    if not is_behind_pooler(connection, server_pid(connection, _PROMPTLY)):
        return False
    with closing(connect()) as other:
        if connection.pgconn.transaction_status == TransactionStatus.IDLE:
            return share(connection, other)
        with closing(connect()) as third:
            return share(other, third)


def share(connection: Any, other: Any) -> bool:
    """Whether two connections to a pooler, in no transaction, are given the same server connections. Raises as above."""
    both = (connection, other)
    first = [server_pid(connection, _PROMPTLY)]
    question = asking(other, _PID)
    try:
        first.append(_heard(question, other))
    except NoAnswer:
        server_pid(connection, _PROMPTLY)
        try:
            first.append(_heard(question, other))
        except NoAnswer:
            # It stands in the pooler's queue still, so that who came after it and was answered has a server of its own.
            return False
    if first[0] == first[1]:
        return True
    return any(server_pid(both[turn], _PROMPTLY) != first[turn] for turn in _TURNS)


def _heard(question: Steps, connection: Any) -> int:
    return int(wait_for(question, connection, _PID, monotonic() + _PROMPTLY) or 0)
