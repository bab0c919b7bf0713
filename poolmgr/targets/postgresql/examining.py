"""What is between a database of the settings and whoever connects: found out for certain, by connections of its own."""

from __future__ import annotations

import select
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from time import monotonic
from typing import Any

import psycopg
from psycopg import pq

from poolmgr.targets.postgresql.liveness import PATIENCE, NoAnswer, ask, no_answer
from poolmgr.targets.postgresql.pooler import is_behind_pooler, server_pid, share
from poolmgr.targets.postgresql.probe import parameters

#: In one go with its own preparation: from version 1.21 a PgBouncer gives prepared statements names of its own.
_NAME = b"poolmgr_examines"
_RENAMED = b"SELECT coalesce(bool_or(name LIKE 'PGBOUNCER%'), false) FROM pg_prepared_statements"


@dataclass(frozen=True, slots=True)
class Between:
    """``pools_by`` is empty where nothing pools in between, else session, transaction or statement, PgBouncer's words.

    Whoever ``keeps_prepared`` has a client's prepared statements wherever its next statement runs.
    """

    pools_by: str = ""
    keeps_prepared: bool = True


def examine(alias: str) -> Between:
    """What is before the server of this alias, in some seconds at most. Raises ``psycopg.Error`` where it can't be told."""
    return between(lambda: psycopg.connect(**parameters(alias, PATIENCE), autocommit=True))


def between(connect: Callable[[], Any]) -> Between:
    """The same of wherever ``connect`` leads to."""
    with closing(connect()) as first:
        if not is_behind_pooler(first, server_pid(first)):
            return Between()
        with closing(connect()) as second:
            if not share(first, second):
                return Between("session")
            kept = _renames_prepared(first.pgconn, monotonic() + PATIENCE)
            return Between("transaction" if _allows_transactions(second) else "statement", kept)


def _allows_transactions(connection: Any) -> bool:
    """A PgBouncer that pools by statement breaks off where one begins."""
    try:
        ask(connection, "BEGIN", monotonic() + PATIENCE)
        ask(connection, "ROLLBACK", monotonic() + PATIENCE)
    except NoAnswer:
        raise
    except psycopg.OperationalError:
        return False
    return True


def _renames_prepared(pgconn: Any, deadline: float) -> bool:
    pgconn.enter_pipeline_mode()
    pgconn.send_prepare(_NAME, _RENAMED)
    pgconn.send_query_prepared(_NAME, None)
    # Where it has its own name still it must not stay, on a server connection that is anybody's.
    pgconn.send_query_params(b"DEALLOCATE " + _NAME, None)
    pgconn.pipeline_sync()
    answers: list[bytes] = []
    while True:
        pgconn.flush()
        while pgconn.is_busy():
            if not select.select([pgconn.socket], [], [], max(0.0, deadline - monotonic()))[0]:
                raise no_answer(_RENAMED.decode())
            pgconn.consume_input()
        result = pgconn.get_result()
        if result is None:
            continue
        if result.status == pq.ExecStatus.PIPELINE_SYNC:
            return answers == [b"t"]
        if result.ntuples:
            answers.append(result.get_value(0, 0))
