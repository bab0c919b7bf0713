"""What a connection is at, in a holder's words."""

from __future__ import annotations

from typing import Any

from psycopg.pq import TransactionStatus

RUNNING, IN_TRANSACTION, IDLE = "running", "in transaction", "idle"

#: By what libpq knows of its transaction; psycopg2 has the same numbers.
_STATES = {
    int(TransactionStatus.IDLE): IDLE,
    int(TransactionStatus.ACTIVE): RUNNING,
    int(TransactionStatus.INTRANS): IN_TRANSACTION,
    int(TransactionStatus.INERROR): "failed transaction",
}


def state_of(status: Any) -> str:
    """For libpq's status of a transaction; "" where nobody can tell."""
    return _STATES.get(int(status), "")
