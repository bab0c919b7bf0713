"""The index over the vectors, away while an empty table is filled: one build is faster than thousands of inserts."""

from collections.abc import Iterator
from contextlib import contextmanager

from django.db import connection
from django.db.models import Index

from .models import Document


@contextmanager
def built_at_the_end() -> Iterator[None]:
    """For a load into an empty table. A load that broke off leaves no index: the next one, of any size, builds it."""
    if not Document.objects.exists() and _exists():
        with connection.schema_editor() as editor:
            editor.remove_index(Document, _index())
    yield
    if not _exists():
        with connection.schema_editor() as editor:
            editor.add_index(Document, _index())


def _index() -> Index:
    index: Index = Document._meta.indexes[0]
    return index


def _exists() -> bool:
    with connection.cursor() as cursor:
        return _index().name in connection.introspection.get_constraints(cursor, Document._meta.db_table)
