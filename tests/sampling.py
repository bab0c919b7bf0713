"""Cases that differ little: some always run, with --all the others too, and with THOROUGH=1 whatever can be tried.

Each case is a value, or a tuple of them.
"""

import os
import random
from collections.abc import Iterator
from itertools import count
from typing import Any

import pytest

#: Whether a test that may try every step, or any number of random orders, does so however long it takes.
THOROUGH = os.environ.get("THOROUGH", "") == "1"
#: Of so many steps that are as good as each other one is tried.
_ONE_OF = 1 if THOROUGH else 6


def steps() -> Iterator[int]:
    """1, 2, 3 and so on, or a few of these that are others at each run, for whoever stops when there are no more.

    A failure names its step.
    """
    for first in count(1, _ONE_OF):
        yield first + random.randrange(_ONE_OF)


def with_all(*cases: Any) -> list[Any]:
    """Parameters of a test or fixture that are `long`."""
    return [pytest.param(*(case if isinstance(case, tuple) else (case,)), marks=pytest.mark.long) for case in cases]


def first_always(first: Any, *others: Any) -> list[Any]:
    return [first, *with_all(*others)]


def first_or_all(first: Any, *others: Any) -> list[Any]:
    """For what is dear and hardly differs: the others only with THOROUGH=1."""
    return first_always(first, *others) if THOROUGH else [first]
