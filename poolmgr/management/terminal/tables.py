"""Columns for a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def table(heads: Sequence[str], rows: Iterable[Sequence[str]], numbers: frozenset[int] = frozenset()) -> list[str]:
    """Lines of columns that are as wide as they have to be; those whose places are in ``numbers`` are set to the right."""
    told = [tuple(heads), *(tuple(map(_on_one_line, row)) for row in rows)]
    widths = [max(len(row[column]) for row in told) for column in range(len(heads))]
    return [
        "  ".join(
            cell.rjust(width) if column in numbers else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in told
    ]


def _on_one_line(text: str) -> str:
    # What another program has written must not move a terminal's cursor.
    return "".join(letter if letter.isprintable() else "?" for letter in text)
