"""Bring the table to what the standard library says now. Running it twice does nothing the second time."""

from collections.abc import Callable
from dataclasses import dataclass
from hashlib import blake2b

from django.conf import settings
from django.db import connection, transaction

from . import indexing
from .embedding import DIMENSIONS, embedder
from .models import Document
from .standard_library import Docstring, docstrings

BATCH = 500
# Any constant of our own: the lock's name among PostgreSQL's advisory locks.
LOADING_LOCK = 7_203_115_884

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Loaded:
    written: int
    unchanged: int
    removed: int


def load_documents(progress: Progress = lambda done, total: None) -> Loaded:
    """Write what is new or changed, remove what is gone; progress hears (done, total) after each batch."""
    wanted = {(doc.module, doc.qualname): doc for doc in docstrings()}
    known = {
        (module, qualname): (key, digest)
        for key, module, qualname, digest in Document.objects.values_list("id", "module", "qualname", "digest")
    }
    stale = [doc for name, doc in wanted.items() if known.get(name, (0, ""))[1] != _digest(doc)]
    gone = [key for name, (key, _) in known.items() if name not in wanted]
    progress(0, len(stale))
    with indexing.built_at_the_end():
        for start in range(0, len(stale), BATCH):
            batch = stale[start : start + BATCH]
            _write(batch)
            progress(start + len(batch), len(stale))
    if gone:
        Document.objects.filter(id__in=gone).delete()
    if stale:
        # The planner prefers the index only once it knows how large the table is.
        with connection.cursor() as cursor:
            cursor.execute("ANALYZE docsearch_document")
    return Loaded(written=len(stale), unchanged=len(wanted) - len(stale), removed=len(gone))


def _write(batch: list[Docstring]) -> None:
    # Outside the transaction: an embedder that asks a model may take seconds.
    vectors = embedder()([_embedded_text(doc) for doc in batch])
    rows = [
        Document(
            module=doc.module,
            qualname=doc.qualname,
            kind=doc.kind,
            signature=doc.signature,
            line=doc.line,
            text=doc.text,
            digest=_digest(doc),
            embedding=_checked(vector),
        )
        for doc, vector in zip(batch, vectors, strict=True)
    ]
    with transaction.atomic(), connection.cursor() as cursor:
        # Two loaders at once would wait for each other's rows in different orders: a deadlock.
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [LOADING_LOCK])
        Document.objects.bulk_create(
            rows,
            update_conflicts=True,
            unique_fields=["module", "qualname"],
            update_fields=["kind", "signature", "line", "text", "digest", "embedding"],
        )


def _checked(vector: list[float]) -> list[float]:
    if len(vector) != DIMENSIONS:
        raise ValueError(
            f"{settings.DOCSEARCH_EMBEDDER} gives vectors of {len(vector)} numbers; allowed: {DIMENSIONS}."
        )
    return vector


def _embedded_text(doc: Docstring) -> str:
    return f"{doc.module} {doc.qualname} {doc.text}"


def _digest(doc: Docstring) -> str:
    parts = (settings.DOCSEARCH_EMBEDDER, str(DIMENSIONS), doc.kind, doc.signature, str(doc.line), doc.text)
    return blake2b("\0".join(parts).encode(), digest_size=16).hexdigest()
