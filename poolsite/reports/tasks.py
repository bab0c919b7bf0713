"""What takes too long for a visitor to wait for: a worker counts, and the page looks for its result."""

import os
from typing import Any

from celery import shared_task
from sqlalchemy import func, select

from .engine import DOCUMENTS, ask

#: Words of so many letters, and so many words.
LETTERS, MOST_WORDS = 6, 24

_SPLIT = func.regexp_split_to_array(func.lower(DOCUMENTS.c.text), "[^a-z]+")
_EACH = select(DOCUMENTS.c.id, func.unnest(_SPLIT).label("word")).distinct().subquery()
_SHARED = (
    select(_EACH.c.word, func.count().label("documents"))
    .where(func.length(_EACH.c.word) >= LETTERS)
    .group_by(_EACH.c.word)
    .order_by(func.count().desc(), _EACH.c.word)
    .limit(MOST_WORDS)
)


@shared_task(ignore_result=False)
def count_words() -> dict[str, Any]:
    """The words that are in the most docstrings, with the number of these; raises a ``CheckoutError`` when it can't."""
    asked = ask(_SHARED)
    return {
        "words": [[word, documents] for word, documents in asked.rows],
        "checkout_ms": asked.checkout_ms,
        "query_ms": asked.query_ms,
        "server_process": asked.server_process,
        "process": os.getpid(),
    }
