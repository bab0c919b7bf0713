"""pgvector's types on a connection. asyncpg knows types by their numbers, which each database has of its own."""

from __future__ import annotations

from collections.abc import Iterable
from importlib.util import find_spec
from typing import Any

from poolmgr.exceptions import ConfigurationError, MissingLibrary
from poolmgr.targets.asyncpg.noting import Noting

_TYPES = """
SELECT t.oid, n.nspname AS ns, t.typname AS name
FROM pg_catalog.pg_extension e
JOIN pg_catalog.pg_namespace n ON n.oid = e.extnamespace
JOIN pg_catalog.pg_type t ON t.typnamespace = n.oid
WHERE e.extname = 'vector' AND t.typname = ANY($1::text[])
"""
#: What a base type is in PostgreSQL's catalogue.
_BASE = b"b"


def expect_pgvector(target: str) -> None:
    """Raises ``MissingLibrary`` where it is not installed."""
    if find_spec("pgvector") is None:
        raise MissingLibrary(
            f"the vectors of {target!r} need pgvector, which is not installed: pip install 'poolmgr[asyncpg]'"
        )


class Vectors:
    """Of one pool. ``codecs`` are those that pgvector has, by the names of their types."""

    def __init__(self) -> None:
        self.codecs: dict[str, dict[str, Any]] = {}

    async def register(self, conn: Noting) -> None:
        """Have ``conn`` take and give vectors. Raises ``ConfigurationError`` where the database has none."""
        if not self.codecs:
            from pgvector.asyncpg import register_vector  # of a target with vectors alone

            await register_vector(self)
        # pgvector's own asks for each type, and twice for some.
        types = await conn.fetch(_TYPES, list(self.codecs))
        if not types:
            raise ConfigurationError(
                f"the extension vector is not installed in the database {conn._params.database!r}, which VECTOR asks for;"
                " have its owner say CREATE EXTENSION vector, or leave VECTOR out"
            )
        self._teach(conn, types)
        conn.learn = self.learn

    async def set_type_codec(self, name: str, *, schema: str, **codec: Any) -> None:
        """What pgvector calls to have a codec used, as asyncpg's connections have it."""
        self.codecs[name] = codec

    def learn(self, conn: Noting, types: Iterable[Any]) -> None:
        """``conn`` has met types that it didn't know: of an extension that was made anew since it connected, maybe."""
        self._teach(conn, [each for each in types if each["kind"] == _BASE and each["ns"] != "pg_catalog"])

    def _teach(self, conn: Noting, types: Iterable[Any]) -> None:
        knows = conn._protocol.get_settings()
        for each in types:
            if (codec := self.codecs.get(each["name"])) is not None:
                knows.add_python_codec(each["oid"], each["name"], each["ns"], [], "scalar", **codec)
