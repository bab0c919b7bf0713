"""Columns for a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from poolmgr.metrics.words import plain


def table(heads: Sequence[str], rows: Iterable[Sequence[str]], numbers: frozenset[int] = frozenset()) -> list[str]:
    """Lines of columns that are as wide as they have to be; those whose places are in ``numbers`` are set to the right."""
    told = [tuple(heads), *(tuple(map(plain, row)) for row in rows)]
    widths = [max(len(row[column]) for row in told) for column in range(len(heads))]
    return [
        "  ".join(
            cell.rjust(width) if column in numbers else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in told
    ]
