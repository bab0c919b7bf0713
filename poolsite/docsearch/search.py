"""One search: what the visitor asked for, the nearest documents, and what each step took."""

import time
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, cast

from django.conf import settings
from django.core.cache import cache
from django.db import connection
from pgvector.django import CosineDistance

from .embedding import embedder
from .models import Document

LONGEST_QUERY = 200
DEFAULT_LIMIT = 10
HIGHEST_LIMIT = 50
#: Seconds for which the vector of a query is kept.
_KEPT = 600


class BadQuery(ValueError):
    """What the visitor sent can't be searched for; the message says why and what is allowed."""


@dataclass(frozen=True, slots=True)
class Query:
    text: str
    limit: int = DEFAULT_LIMIT

    @classmethod
    def parse(cls, text: str, limit: str = "", name: str = "q") -> "Query":
        """Raises BadQuery, which calls the text by ``name``."""
        # NUL is the one character that PostgreSQL's text can't hold.
        text = " ".join(text.replace("\0", " ").split())
        if not text:
            raise BadQuery(f"{name} is empty. Allowed: 1 to {LONGEST_QUERY} characters.")
        if len(text) > LONGEST_QUERY:
            raise BadQuery(f"{name} has {len(text)} characters. Allowed: 1 to {LONGEST_QUERY}.")
        if limit and not (limit.isascii() and limit.isdigit() and len(limit) < 4 and 1 <= int(limit) <= HIGHEST_LIMIT):
            raise BadQuery(f"limit is {limit[:20]!r}. Allowed: a whole number from 1 to {HIGHEST_LIMIT}.")
        return cls(text, int(limit or DEFAULT_LIMIT))


@dataclass(frozen=True, slots=True)
class Answer:
    documents: list[Any]
    embed_ms: float
    checkout_ms: float
    query_ms: float


def _vector(text: str) -> list[float]:
    """A model may take its time: what it made of a text is kept."""
    digest = blake2b(text.encode(), digest_size=16).hexdigest()

    def make() -> list[float]:
        [vector] = embedder()([text])
        return vector

    return cast(list[float], cache.get_or_set(f"vector:{settings.DOCSEARCH_EMBEDDER}:{digest}", make, _KEPT))


def search(query: Query) -> Answer:
    started = time.perf_counter()
    vector = _vector(query.text)
    embedded = time.perf_counter()
    # Here a pooled backend takes a connection and one without a pool connects.
    connection.ensure_connection()
    checked_out = time.perf_counter()
    nearest = Document.objects.alias(distance=CosineDistance("embedding", vector)).order_by("distance")
    nearest = nearest.annotate(similarity=1 - CosineDistance("embedding", vector)).defer("embedding")
    documents = list(nearest[: query.limit])
    done = time.perf_counter()
    return Answer(
        documents,
        embed_ms=(embedded - started) * 1000,
        checkout_ms=(checked_out - embedded) * 1000,
        query_ms=(done - checked_out) * 1000,
    )
