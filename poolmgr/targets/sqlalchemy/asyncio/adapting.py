"""SQLAlchemy's adapter of psycopg's connections, in which its sync code awaits what those do."""

from __future__ import annotations

from inspect import signature
from typing import Any

from sqlalchemy.dialects.postgresql.psycopg import AsyncAdapt_psycopg_connection

_Adapter: Any = AsyncAdapt_psycopg_connection
#: SQLAlchemy 2.1's knows its driver too.
_KNOWS_DRIVER = "dbapi" in signature(_Adapter).parameters


def adapted(driver: Any, conn: Any) -> Any:
    """What SQLAlchemy makes of a connection once it has awaited it."""
    return _Adapter(driver, conn) if _KNOWS_DRIVER else _Adapter(conn)
