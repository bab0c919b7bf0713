"""Cases that differ little: some always run, with --all the others too, and with THOROUGH=1 whatever can be tried.

Each case is a value, or a tuple of them.
"""

import os
import random
from collections.abc import Iterator
from itertools import count
from typing import Any

import pytest

from .workers import RUN_MARK

#: Whether a test that may try every step, or any number of random orders, does so however long it takes.
THOROUGH = os.environ.get("THOROUGH", "") == "1"
#: Of so many steps that are as good as each other one is tried.
_ONE_OF = 1 if THOROUGH else 6


def steps() -> Iterator[int]:
    """1, 2, 3 and so on, or a few of these that are others at each run, for whoever stops when there are no more.

    A failure names its step. A run with the mark of another one, which that told at its end, takes the same ones.
    """
    drawn = random.Random(f"{os.environ.get(RUN_MARK)} {os.environ.get('PYTEST_CURRENT_TEST')}")
    for first in count(1, _ONE_OF):
        yield first + drawn.randrange(_ONE_OF)


def with_all(*cases: Any) -> list[Any]:
    """Parameters of a test or fixture that are `long`."""
    return [pytest.param(*(case if isinstance(case, tuple) else (case,)), marks=pytest.mark.long) for case in cases]


def first_always(first: Any, *others: Any) -> list[Any]:
    return [first, *with_all(*others)]


def first_or_all(first: Any, *others: Any) -> list[Any]:
    """For what is dear and hardly differs: the others only with THOROUGH=1."""
    return first_always(first, *others) if THOROUGH else [first]
