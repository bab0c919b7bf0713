"""Is the other end still there? Looks and questions that never outlast their deadline."""

from __future__ import annotations

import select
from collections.abc import Generator
from contextlib import suppress
from time import monotonic
from typing import Any

import psycopg
from psycopg import pq

from poolmgr.pools.cancelling import Cancel, walk
from poolmgr.pools.sockets import hang_up
from poolmgr.targets.postgresql.parting import cancelled

#: The longest that a validation query, a rollback or a cleaning may take, in seconds.
PATIENCE = 5.0


class NoAnswer(psycopg.OperationalError):
    """The server did not answer before the deadline; the connection is of no use any more."""


def ask(connection: psycopg.Connection[Any], statement: str, deadline: float) -> bytes | None:
    """Run ``statement`` by the simple protocol; the first value of its last result, in the server's words.

    ``deadline`` is on the monotonic clock. psycopg's own ``execute`` has no deadline, so that one black-holed
    connection would hold its caller for the minutes that TCP takes to notice.

    Raises ``NoAnswer`` past the deadline and ``psycopg.OperationalError`` with its ``sqlstate`` when the statement fails.
    """
    return wait_for(asking(connection, statement), connection, statement, deadline)


def validate(connection: psycopg.Connection[Any], query: str, deadline: float) -> None:
    """Run a validation query, in one round trip, so that it changes nothing, neither data nor the session.

    Raises as ``ask()``; the connection is in no transaction afterwards if it works at all.
    """
    wait_for(validating(connection, query), connection, query, deadline)


def wait_for(steps: Steps, connection: psycopg.Connection[Any], statement: str, deadline: float) -> bytes | None:
    """Go through the steps of a question; past the deadline they may be gone on with."""
    poller = select.poll() if hasattr(select, "poll") else None
    while True:
        try:
            next(steps)
        except StopIteration as end:
            answer: bytes | None = end.value
            return answer
        left = deadline - monotonic()
        if left <= 0 or not _readable(connection.pgconn.socket, poller, left):
            raise no_answer(statement)


def no_answer(statement: str) -> NoAnswer:
    return NoAnswer(f"no answer to {statement!r} before the deadline")


#: Each waits until the socket can be read, and whoever takes them for how long; what they come to is the answer.
Steps = Generator[None, None, bytes | None]


def asking(connection: psycopg.Connection[Any], statement: str) -> Steps:
    """The steps of ``ask()``, for a thread that waits and a task that awaits."""
    pgconn = connection.pgconn
    pgconn.send_query(statement.encode())
    error: psycopg.OperationalError | None = None
    answer: bytes | None = None
    while True:
        pgconn.flush()
        while pgconn.is_busy():
            yield
            pgconn.consume_input()
        result = pgconn.get_result()
        if result is None:
            break
        if result.status in _FAILED:
            error = psycopg.OperationalError(result.error_message.decode(errors="replace").strip())
            error.sqlstate = (result.error_field(pq.DiagnosticField.SQLSTATE) or b"").decode() or None
        answer = result.get_value(0, 0) if result.ntuples and result.nfields else None
    if error is not None:
        raise error
    return answer


def validating(connection: psycopg.Connection[Any], query: str) -> Steps:
    """The steps of ``validate()``."""
    if query == "SELECT 1":
        return (yield from asking(connection, query))
    try:
        # On lines of its own: a comment at its end must not swallow what follows.
        return (yield from asking(connection, f"BEGIN READ ONLY;\n{query}\n;{_undo(connection)}"))
    except psycopg.OperationalError:
        if connection.pgconn.transaction_status == pq.TransactionStatus.INERROR:
            yield from asking(connection, _undo(connection))
        raise


def _undo(connection: psycopg.Connection[Any]) -> str:
    """Locks of the session outlive its transactions, and nobody has the connection who could have taken one.

    Nor has a session that is a pooler's, where another process answers than the one that we were told of: there somebody may.
    """
    pid = connection.pgconn.backend_pid
    return f"ROLLBACK; SELECT pg_advisory_unlock_all() WHERE pg_backend_pid() = {pid}"


_FAILED = frozenset({pq.ExecStatus.FATAL_ERROR, pq.ExecStatus.BAD_RESPONSE})


def _readable(fileno: int, poller: Any, seconds: float) -> bool:
    if poller is None:
        return bool(select.select([fileno], [], [], seconds)[0])
    poller.register(fileno, select.POLLIN)
    return bool(poller.poll(max(1, int(seconds * 1000))))


def has_hung_up(connection: psycopg.Connection[Any]) -> bool:
    """Read what the server sent unasked; True when it closed the connection or said that it will."""
    try:
        connection.pgconn.consume_input()
    except psycopg.Error:
        return True
    return connection.pgconn.status == pq.ConnStatus.BAD


def break_off(connection: psycopg.Connection[Any]) -> None:
    """As ``hang_up()``, and what runs on the server is cancelled: it may wait there for what ends no sooner.

    Again after that, since somebody may have said more until then. This takes some seconds.
    """
    with suppress(psycopg.Error):  # closed meanwhile
        canceller = Cancel(connection.pgconn)
        walk(canceller.send(monotonic() + PATIENCE))
        with suppress(psycopg.Error):
            hang_up(connection.fileno())
        walk(cancelled(canceller))
