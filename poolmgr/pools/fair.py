"""Max-min fairness: how room is shared out among those who ask for more than there is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

Name = TypeVar("Name", bound=Any)


def fill(room: int, asks: Mapping[Name, int], holds: Mapping[Name, int]) -> dict[Name, int]:
    """Max-min: nobody gets more than they ask for, and nobody less than another unless they asked for less.

    What can't be divided goes to those who hold the most already, so that as little as possible changes hands.
    """
    if sum(asks.values()) <= room:
        return dict(asks)
    level, over = _level(room, sorted(asks.values()))
    given = {name: ask if ask < level else level for name, ask in asks.items()}
    if over:
        hungry = [name for name, ask in asks.items() if ask > level]
        for name in sorted(hungry, key=lambda name: (-holds[name], name))[:over]:
            given[name] += 1
    return given


def _level(room: int, rising: list[int]) -> tuple[int, int]:
    """Up to where everybody's ask is met, and for how many there is one more; the asks are more than the room."""
    left = len(rising)
    for ask in rising:
        if ask * left > room:
            break
        room -= ask
        left -= 1
    return divmod(room, left)
