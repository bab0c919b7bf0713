"""What an entry of the runbook is made of."""

from __future__ import annotations

from typing import NamedTuple


class Advice(NamedTuple):
    """``means`` says what is so, ``look`` where the cause shows, ``do`` what helps, the likeliest first."""

    title: str
    means: str
    look: tuple[str, ...]
    do: tuple[str, ...]


def entry(title: object, means: object, look: tuple[object, ...], do: tuple[object, ...]) -> Advice:
    # Lazy texts: each reader has them in their own language.
    return Advice(title, means, look, do)  # type: ignore[arg-type]
