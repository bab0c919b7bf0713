"""One search: what the visitor asked for, by which way, the nearest documents, and what each step took."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import blake2b
from typing import cast

from django.conf import settings
from django.core.cache import cache

from poolmgr.exceptions import CheckoutError, ModeError

from .embedding import embedder
from .models import Document
from .ways import WAYS, Held, Walked, walk

LONGEST_QUERY = 200
DEFAULT_LIMIT = 10
HIGHEST_LIMIT = 50
ALL = "all"
THROUGH = (*WAYS, ALL)
#: Seconds for which the vector of a query is kept.
_KEPT = 600


class BadQuery(ValueError):
    """What the visitor sent can't be searched for; the message says why and what is allowed."""


class Unavailable(Exception):
    """No answer can be had now; the message is for visitors."""


@dataclass(frozen=True, slots=True)
class Query:
    text: str
    limit: int = DEFAULT_LIMIT
    through: str = THROUGH[0]

    @classmethod
    def parse(cls, text: str, limit: str = "", through: str = "", name: str = "q") -> "Query":
        """Raises BadQuery, which calls the text by ``name``."""
        # NUL is the one character that PostgreSQL's text can't hold.
        text = " ".join(text.replace("\0", " ").split())
        if not text:
            raise BadQuery(f"{name} is empty. Allowed: 1 to {LONGEST_QUERY} characters.")
        if len(text) > LONGEST_QUERY:
            raise BadQuery(f"{name} has {len(text)} characters. Allowed: 1 to {LONGEST_QUERY}.")
        if limit and not (limit.isascii() and limit.isdigit() and len(limit) < 4 and 1 <= int(limit) <= HIGHEST_LIMIT):
            raise BadQuery(f"limit is {limit[:20]!r}. Allowed: a whole number from 1 to {HIGHEST_LIMIT}.")
        return cls(text, int(limit or DEFAULT_LIMIT), parse_through(through))


def parse_through(given: str) -> str:
    """Raises BadQuery for a way that there isn't."""
    if given and given not in THROUGH:
        raise BadQuery(f"through is {given[:20]!r}. Allowed: {', '.join(THROUGH)}.")
    return given or THROUGH[0]


@dataclass(frozen=True, slots=True)
class Answer:
    """What each way found and took."""

    walked: tuple[Walked, ...]
    embed_ms: float

    @property
    def documents(self) -> list[Document]:
        return self.walked[0].documents

    @property
    def pools(self) -> list[Held]:
        """Those that they went by, as the last who did has left them."""
        return list({way.pool.target: way.pool for way in self.walked}.values())

    @property
    def agree(self) -> bool:
        """Whether every way found the same, in the same order."""
        found = [[(each.pk, vars(each)["similarity"]) for each in way.documents] for way in self.walked]
        return all(each == found[0] for each in found)


def embedded(text: str) -> tuple[list[float], float]:
    """Its vector, and the milliseconds that it took. A model may take its time: what it made of a text is kept."""
    started = time.perf_counter()
    digest = blake2b(text.encode(), digest_size=16).hexdigest()

    def make() -> list[float]:
        [vector] = embedder()([text])
        return vector

    vector = cache.get_or_set(f"vector:{settings.DOCSEARCH_EMBEDDER}:{digest}", make, _KEPT)
    return cast(list[float], vector), (time.perf_counter() - started) * 1000


@contextmanager
def for_visitors() -> Iterator[None]:
    """What a pool refuses in the block is ``Unavailable``."""
    try:
        yield
    except CheckoutError as error:
        # Which of the reasons it was is for the operator, not for visitors.
        raise Unavailable("No connection to the documents could be had in time. Try again in a moment.") from error
    except ModeError as error:
        raise Unavailable("The documents' pool is in statement mode, which SQLAlchemy can't use.") from error


def ways_of(query: Query) -> tuple[str, ...]:
    return tuple(WAYS) if query.through == ALL else (query.through,)


def search(query: Query) -> Answer:
    """Raises ``Unavailable``."""
    vector, embed_ms = embedded(query.text)
    with for_visitors():
        walked = tuple(walk(way, vector, query.limit) for way in ways_of(query))
    return Answer(walked, embed_ms)
