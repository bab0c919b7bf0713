"""A question to the engine of the reports, SQLAlchemy's own: its database may be a replica that is unknown to Django."""

import time
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Select, column, table

import poolmgr
from poolsite.docsearch.models import Document

#: The target of the engine, as settings.POOLMGR declares it.
TARGET = "reports"

DOCUMENTS = table(Document._meta.db_table, *(column(name) for name in ("id", "module", "kind", "text")))


@dataclass(frozen=True, slots=True)
class Asked:
    """The rows, what it took, and the connection by the number of its process at the server."""

    rows: tuple[Any, ...]
    checkout_ms: float
    query_ms: float
    server_process: int


def ask(question: Select[Any]) -> Asked:
    """Raises a ``CheckoutError`` when no connection can be had in time."""
    started = time.perf_counter()
    with poolmgr.pool(TARGET).connect() as borrowed:
        checked_out = time.perf_counter()
        # A PgBouncer that pools by transaction finds no prepared statement again, below version 1.21.
        borrowed.connection.driver_connection.prepare_threshold = None
        server_process = borrowed.connection.driver_connection.info.backend_pid
        rows = tuple(borrowed.execution_options(postgresql_readonly=True).execute(question))
    done = time.perf_counter()
    return Asked(rows, (checked_out - started) * 1000, (done - checked_out) * 1000, server_process)
