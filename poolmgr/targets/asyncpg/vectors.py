"""pgvector's types on a connection: asyncpg asks the server for each, five questions at a new connection."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

from poolmgr.exceptions import ConfigurationError, MissingLibrary

_WHERE = """
SELECT n.nspname FROM pg_catalog.pg_extension e JOIN pg_catalog.pg_namespace n ON n.oid = e.extnamespace
WHERE e.extname = 'vector'
"""


def expect_pgvector(target: str) -> None:
    """Raises ``MissingLibrary`` where it is not installed."""
    if find_spec("pgvector") is None:
        raise MissingLibrary(
            f"the vectors of {target!r} need pgvector, which is not installed: pip install 'poolmgr[asyncpg]'"
        )


class Vectors:
    """Of one pool. The schema in which the extension is doesn't change while the server runs, so that it is asked once."""

    def __init__(self) -> None:
        self._schema = ""

    async def register(self, conn: Any) -> None:
        """Have ``conn`` take and give vectors. Raises ``ConfigurationError`` where the database has none."""
        from pgvector.asyncpg import register_vector  # of a target with vectors alone

        schema = self._schema or await conn.fetchval(_WHERE)
        if schema is not None:
            try:
                await register_vector(conn, schema=schema)
                self._schema = schema
                return
            except ValueError:  # it was dropped, or made anew elsewhere
                self._schema = ""
        raise ConfigurationError(
            f"the extension vector is not installed in the database {conn._params.database!r}, which VECTOR asks for;"
            " have its owner say CREATE EXTENSION vector, or leave VECTOR out"
        )
