"""The database backend for PostgreSQL."""

from __future__ import annotations

from poolmgr.backends.postgresql.pooled import Pooled


class DatabaseWrapper(Pooled):
    """Django's PostgreSQL backend on managed pools."""
