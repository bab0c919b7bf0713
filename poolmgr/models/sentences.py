"""Sentences in rows: in English, for whoever reads the table, and beside that as phrases, for a page in another language."""

from __future__ import annotations

from poolmgr.metrics.phrases import Phrase, as_phrase, cut, packed


def kept(text: str, longest: int) -> tuple[str, str]:
    """The text for a column of ``longest`` characters, and what is kept beside it: "" for what is no phrase."""
    short = cut(text, longest)
    return str(short), packed(short) if isinstance(short, Phrase) else ""


def read(text: str, beside: str) -> str:
    """The phrase again; the text alone where the row was written, or changed, in SQL."""
    found = as_phrase(beside) if beside else text
    return found if found == text else text
