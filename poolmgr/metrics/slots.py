"""A pool's used connections as one letter each: how long each is held and whether its holder is in a transaction.

So small that every heartbeat has all of them, where the holders themselves are told for the first few alone.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass

#: Seconds from which a connection counts as held for longer, one step darker each.
STEPS = (1.0, 5.0, 30.0)
#: More than anybody looks at in one process.
MOST = 200

_STATES = ("running", "in transaction", "idle")
#: What has other words, or none.
_LIKE = {"failed transaction": "in transaction", "": "running", "ended": "idle"}
_LETTERS = "abcdefghijkl"


@dataclass(frozen=True, slots=True)
class Slot:
    """``age`` is a step from 0, for less than the first of ``STEPS``, to 3; ``state`` is running, in transaction or idle."""

    age: int
    state: str


def encoded(used: Iterable[tuple[float, str]]) -> str:
    """Letters for connections, each with the seconds that it is held and its holder's state; the oldest come first."""
    ordered = sorted(used, key=lambda each: -each[0])[:MOST]
    return "".join(_letter(bisect_right(STEPS, seconds), state) for seconds, state in ordered)


def decoded(letters: str) -> tuple[Slot, ...]:
    """What the letters say; one that is none of ours is left out."""
    width = len(STEPS) + 1
    found = (_LETTERS.find(letter) for letter in letters[:MOST])
    return tuple(Slot(index % width, _STATES[index // width]) for index in found if index >= 0)


def joined(parts: Iterable[str]) -> str:
    """Those of several pools as those of one."""
    width = len(STEPS) + 1
    return "".join(sorted("".join(parts), key=lambda letter: -(_LETTERS.find(letter) % width)))[:MOST]


def _letter(age: int, state: str) -> str:
    return _LETTERS[_STATES.index(_LIKE.get(state, state)) * (len(STEPS) + 1) + age]
