"""The hashed n-gram embedding: words and their character n-grams, hashed into a vector. No model, no download, no
dependency; the same text gives the same vector in every process and on every machine.

It knows spelling, not meaning: "connect" and "connection" come out close, "car" and "automobile" do not. A site that has a
model names its own function in DOCSEARCH_EMBEDDER.
"""

import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from hashlib import blake2b

from django.conf import settings
from django.utils.module_loading import import_string

DIMENSIONS = 512
GRAM_SIZES = (3, 4)
# A whole word says more than any one of its parts.
WORD_WEIGHT = 1.2
# What comes later in a long text adds little to what it is about, and costs time.
LONGEST_TEXT = 3000

# camelCase, snake_case and dotted.names fall into their words.
_WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|\d+")
_COMMON = frozenset(
    "a an and any are as at be been but by can do does for from get has have if in into is it its may more no not of on or "
    "other return returned returns self set so such than that the their then there these this to up use used using was "
    "when which will with you".split()
)

Embedder = Callable[[list[str]], list[list[float]]]


def embed(texts: list[str]) -> list[list[float]]:
    """One unit vector for each text."""
    return [_embed_one(text) for text in texts]


def embedder() -> Embedder:
    """The function that settings.DOCSEARCH_EMBEDDER names."""
    found: Embedder = import_string(settings.DOCSEARCH_EMBEDDER)
    return found


def _embed_one(text: str) -> list[float]:
    vector = [0.0] * DIMENSIONS
    for word, count in Counter(_words(text[:LONGEST_TEXT])).items():
        # The tenth mention of a word adds less than the first.
        weight = 1.0 + math.log(count)
        for position, share in _features(word):
            vector[position] += weight * share
    length = math.sqrt(sum(value * value for value in vector))
    # The zero vector has no direction; a fixed one keeps the cosine distance defined.
    return [value / length for value in vector] if length else [1.0] + [0.0] * (DIMENSIONS - 1)


def _words(text: str) -> Iterator[str]:
    for match in _WORD.finditer(text):
        word = match.group().lower()
        if word not in _COMMON:
            yield word


@lru_cache(maxsize=50_000)
def _features(word: str) -> tuple[tuple[int, float], ...]:
    """Where a word and its n-grams land, and with what sign and share."""
    grams = list(_grams(f"<{word}>"))
    # All parts of a word together weigh as much as a word, however long it is.
    share = 1.0 / math.sqrt(len(grams)) if grams else 0.0
    return (_place(word, WORD_WEIGHT), *(_place(gram, share) for gram in grams))


def _grams(word: str) -> Iterable[str]:
    for size in GRAM_SIZES:
        for start in range(len(word) - size + 1):
            yield word[start : start + size]


def _place(feature: str, share: float) -> tuple[int, float]:
    # Not hash(): that differs from process to process. The sign lets collisions cancel out on average.
    number = int.from_bytes(blake2b(feature.encode(), digest_size=8).digest(), "big")
    return number % DIMENSIONS, share if number >> 63 else -share
