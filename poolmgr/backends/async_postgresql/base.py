"""The database backend for PostgreSQL with a half for tasks; Django and the package find both by their names here."""

from __future__ import annotations

from poolmgr.backends.async_postgresql.requirement import expect_package

expect_package()  # before anything asks for what may not be there

from poolmgr.backends.async_postgresql.pooled import AsyncDatabaseWrapper  # noqa: E402
from poolmgr.backends.async_postgresql.threads import DatabaseWrapper  # noqa: E402

__all__ = ["AsyncDatabaseWrapper", "DatabaseWrapper"]
