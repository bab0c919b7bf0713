"""Cases that differ little: some always run, and with --all the others too.

Each case is a value, or a tuple of them.
"""

from typing import Any

import pytest


def with_all(*cases: Any) -> list[Any]:
    """Parameters of a test or fixture that are `long`."""
    return [pytest.param(*(case if isinstance(case, tuple) else (case,)), marks=pytest.mark.long) for case in cases]


def first_always(first: Any, *others: Any) -> list[Any]:
    return [first, *with_all(*others)]
