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


#: The documents, when the connection was there by ``time.perf_counter()``, and the server's process.
Walk = tuple[list[Document], float, int]


def _orm(vector: list[float], limit: int) -> Walk:
    # Here a pooled backend takes a connection and one without a pool connects.
    connection.ensure_connection()
    checked_out = time.perf_counter()
    server_process = connection.connection.info.backend_pid
    return list(nearest(Document.objects, vector).defer("embedding")[:limit]), checked_out, server_process


def nearest(documents: Any, vector: list[float]) -> Any:
    """Of a manager of documents those nearest to a vector, with their ``similarity``."""
    found = documents.alias(distance=CosineDistance("embedding", vector)).order_by("distance")
    return found.annotate(similarity=1 - CosineDistance("embedding", vector))


#: All but the vector, which nobody is shown.
READ = [field.attname for field in Document._meta.concrete_fields if field.attname != "embedding"]
_COLUMNS = [column("embedding", VECTOR(DIMENSIONS)), *(column(name) for name in READ)]
_DOCUMENTS = table(Document._meta.db_table, *_COLUMNS)


def _sqlalchemy(vector: list[float], limit: int) -> Walk:
    # A thread that uses both would hold two: what the ORM has, if anything, goes back first.
    with poolmgr.released(), engine().connect() as borrowed:
        checked_out = time.perf_counter()
        server_process = borrowed.connection.driver_connection.info.backend_pid
        distance = _DOCUMENTS.c.embedding.cosine_distance(vector)
        wanted = [_DOCUMENTS.c[name] for name in READ]
        found = select(*wanted, (1 - distance).label("similarity")).order_by(distance).limit(limit)
        documents = [document_of(row) for row in borrowed.execute(found)]
    return documents, checked_out, server_process


def document_of(row: Sequence[Any], also: str = "similarity") -> Document:
    """Of what was ``READ``, and one value more, which it also has."""
    *values, last = row
    document = Document.from_db(DEFAULT_DB_ALIAS, READ, values)
    setattr(document, also, last)
    return document


_COLUMNS_AND_TABLE = f"{', '.join(READ)}, 1 - (embedding <=> $1) FROM {Document._meta.db_table}"
_NEAREST = f"SELECT {_COLUMNS_AND_TABLE} ORDER BY embedding <=> $1 LIMIT $2"


def _asyncpg(vector: list[float], limit: int) -> Walk:
    with poolmgr.released():
        return awaited(by_asyncpg(vector, limit))


async def by_asyncpg(vector: list[float], limit: int) -> Walk:
    async with poolmgr.aio.pool(VECTORS).acquire() as conn:
        checked_out = time.perf_counter()
        rows = await conn.fetch(_NEAREST, vector, limit)
        return [document_of(row) for row in rows], checked_out, conn.get_server_pid()


async def _of_this_loop() -> Any:
    return poolmgr.aio.pool(VECTORS).managed


def _held(pool: Any) -> Held:
    return Held(pool.target, pool.load().held, pool.spec.max_size)


@dataclass(frozen=True, slots=True)
class Way:
    label: str
    walk: Callable[[list[float], int], Walk]
    pool: Callable[[], Any] = poolmgr.pool


WAYS = {
    "orm": Way("Django's ORM", _orm),
    "sqlalchemy": Way("SQLAlchemy", _sqlalchemy),
    "asyncpg": Way("asyncpg", _asyncpg, lambda: awaited(_of_this_loop())),
}


def walk(through: str, vector: list[float], limit: int) -> Walked:
    way = WAYS[through]
    started = time.perf_counter()
    return told(through, started, way.walk(vector, limit), way.pool())


def told(through: str, started: float, walked: Walk, pool: Any) -> Walked:
    """What came of a way that has just been walked."""
    documents, checked_out, server_process = walked
    done = time.perf_counter()
    checkout_ms, query_ms = (checked_out - started) * 1000, (done - checked_out) * 1000
    return Walked(through, WAYS[through].label, documents, checkout_ms, query_ms, server_process, _held(pool))
