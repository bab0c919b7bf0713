"""The hashed n-gram embedding: the same everywhere, unit length, near for what is spelled alike."""

import math
import subprocess
import sys
from pathlib import Path

import pytest
from django.test import override_settings

from poolsite.docsearch.embedding import DIMENSIONS, embed, embedder


def cosine(a: list[float], b: list[float]) -> float:
    return sum(x * y for x, y in zip(a, b, strict=True))


@pytest.mark.parametrize("text", ["temporary directory", "x", "ABCdef_ghi.jkl42", "naïve Ωmega", "word " * 5000])
def test_unit_vectors(text):
    [vector] = embed([text])
    assert len(vector) == DIMENSIONS
    assert math.isclose(math.sqrt(cosine(vector, vector)), 1.0)


@pytest.mark.parametrize("text", ["", "...", "the of and"])
def test_texts_without_words_still_have_a_direction(text):
    [vector] = embed([text])
    assert math.isclose(cosine(vector, vector), 1.0)


def test_spelling_is_near_and_the_unrelated_is_far():
    query, near, same_root, far = embed(["connect", "connect to a server", "connection", "sorted list"])
    assert cosine(query, near) > 0.5
    assert cosine(query, same_root) > 0.2
    assert abs(cosine(query, far)) < 0.15


def test_case_and_separators_do_not_matter():
    camel, snake, words = embed(["TemporaryDirectory", "temporary_directory", "Temporary directory"])
    assert camel == snake == words


def test_another_process_gives_the_same_vector():
    code = "from poolsite.docsearch.embedding import embed; print(embed(['hash seeds differ'])[0])"
    output = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2]
    ).stdout
    assert output.strip() == str(embed(["hash seeds differ"])[0])


def constant(texts: list[str]) -> list[list[float]]:
    return [[1.0] + [0.0] * (DIMENSIONS - 1) for _ in texts]


def test_a_site_can_name_its_own():
    with override_settings(DOCSEARCH_EMBEDDER=f"{__name__}.constant"):
        assert embedder() is constant
