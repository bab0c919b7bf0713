"""Three ways to the nearest documents: Django's ORM and SQLAlchemy's Core, on one managed pool, and asyncpg, which awaits."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from django.db import DEFAULT_DB_ALIAS, connection
from pgvector.django import CosineDistance
from pgvector.sqlalchemy import VECTOR
from sqlalchemy import column, select, table

import poolmgr
import poolmgr.aio
from poolmgr.targets.sqlalchemy import engine

from .embedding import DIMENSIONS
from .looping import awaited
from .models import Document

#: What ``POOLMGR["TARGETS"]`` declares for asyncpg.
VECTORS = "vectors"


@dataclass(frozen=True, slots=True)
class Held:
    """Of a pool, this process has ``held`` connections, ``most`` at most."""

    target: str
    held: int
    most: int


@dataclass(frozen=True, slots=True)
class Walked:
    """What one way found, nearest first, and what it took; each document has its ``similarity``.

    ``server_process`` is the number of the process at the server that answered: the connection, whoever borrowed it, which
    is of ``pool``.
    """

    through: str
    label: str
    documents: list[Document]
    checkout_ms: float
    query_ms: float
    server_process: int
    pool: Held


def _orm(vector: list[float], limit: int) -> tuple[list[Document], float, int]:
    # Here a pooled backend takes a connection and one without a pool connects.
    connection.ensure_connection()
    checked_out = time.perf_counter()
    server_process = connection.connection.info.backend_pid
    nearest = Document.objects.alias(distance=CosineDistance("embedding", vector)).order_by("distance")
    nearest = nearest.annotate(similarity=1 - CosineDistance("embedding", vector)).defer("embedding")
    return list(nearest[:limit]), checked_out, server_process


_READ = [field.attname for field in Document._meta.concrete_fields if field.attname != "embedding"]
_COLUMNS = [column("embedding", VECTOR(DIMENSIONS)), *(column(name) for name in _READ)]
_DOCUMENTS = table(Document._meta.db_table, *_COLUMNS)


def _sqlalchemy(vector: list[float], limit: int) -> tuple[list[Document], float, int]:
    # A thread that uses both would hold two: what the ORM has, if anything, goes back first.
    with poolmgr.released(), engine().connect() as borrowed:
        checked_out = time.perf_counter()
        server_process = borrowed.connection.driver_connection.info.backend_pid
        distance = _DOCUMENTS.c.embedding.cosine_distance(vector)
        wanted = [_DOCUMENTS.c[name] for name in _READ]
        nearest = select(*wanted, (1 - distance).label("similarity")).order_by(distance).limit(limit)
        documents = [_document(row) for row in borrowed.execute(nearest)]
    return documents, checked_out, server_process


def _document(row: Sequence[Any]) -> Document:
    *values, similarity = row
    document = Document.from_db(DEFAULT_DB_ALIAS, _READ, values)
    document.similarity = similarity  # type: ignore[attr-defined]
    return document


_COLUMNS_AND_TABLE = f"{', '.join(_READ)}, 1 - (embedding <=> $1) FROM {Document._meta.db_table}"
_NEAREST = f"SELECT {_COLUMNS_AND_TABLE} ORDER BY embedding <=> $1 LIMIT $2"


def _asyncpg(vector: list[float], limit: int) -> tuple[list[Document], float, int]:
    with poolmgr.released():
        rows, checked_out, server_process = awaited(_nearest(vector, limit))
    return [_document(row) for row in rows], checked_out, server_process


async def _nearest(vector: list[float], limit: int) -> tuple[list[Any], float, int]:
    async with poolmgr.aio.pool(VECTORS).acquire() as conn:
        checked_out = time.perf_counter()
        return await conn.fetch(_NEAREST, vector, limit), checked_out, conn.get_server_pid()


async def _of_this_loop() -> Any:
    return poolmgr.aio.pool(VECTORS).managed


def _held(pool: Any) -> Held:
    return Held(pool.target, pool.load().held, pool.spec.max_size)


@dataclass(frozen=True, slots=True)
class Way:
    label: str
    walk: Callable[[list[float], int], tuple[list[Document], float, int]]
    pool: Callable[[], Any] = poolmgr.pool


WAYS = {
    "orm": Way("Django's ORM", _orm),
    "sqlalchemy": Way("SQLAlchemy", _sqlalchemy),
    "asyncpg": Way("asyncpg", _asyncpg, lambda: awaited(_of_this_loop())),
}


def walk(through: str, vector: list[float], limit: int) -> Walked:
    way = WAYS[through]
    started = time.perf_counter()
    documents, checked_out, server_process = way.walk(vector, limit)
    done = time.perf_counter()
    checkout_ms, query_ms = (checked_out - started) * 1000, (done - checked_out) * 1000
    return Walked(through, way.label, documents, checkout_ms, query_ms, server_process, _held(way.pool()))
