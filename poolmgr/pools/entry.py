"""What a pool knows of one of its connections, whatever the library."""

from __future__ import annotations

from itertools import count
from math import inf
from typing import Any
from weakref import ref

from poolmgr.pools.labels import Label
from poolmgr.pools.sockets import watch

_numbers = count(1)
#: The generation of a connection that nobody else may be lent: no pool has it.
_NONE = 0


def parsed(checkout: str) -> tuple[int, int]:
    """The number and the epoch in a checkout's name; those of none for what is no name."""
    number, _, epoch = checkout.partition(".")
    return (int(number), int(epoch)) if number.isdecimal() and epoch.isdecimal() and len(checkout) < 40 else (0, 0)


class Entry:
    """``owner``, ``since``, ``epoch`` and ``idle_since`` are guarded by the pool's lock; times are on the monotonic clock.

    ``pid`` is the id of the server's end, ``epoch`` goes up when a checkout ends. ``gave`` has those who gave it back, or had
    it when another did, but weakly: they come and go, and a later one may have an earlier one's id. ``guest_of`` is the
    request, with its attribute ``over``, for which a thread that is not the request's own has taken the connection; it
    belongs to the owner's thread. ``number`` is no other's in this process. ``label`` is what the present or the last owner
    works for, ``noted`` what was noted of the present checkout before its end (``pools/uses.py``). ``has_news(0)`` tells
    without waiting whether the server has sent something or hung up.
    """

    __slots__ = (
        "_aims",
        "_ended",
        "_kept",
        "asked_at",
        "epoch",
        "expires",
        "gave",
        "generation",
        "guest_of",
        "has_news",
        "idle_since",
        "label",
        "leak_reported",
        "noted",
        "number",
        "owner",
        "pid",
        "since",
    )

    def __init__(self, fileno: int, pid: int, generation: int, now: float) -> None:
        self.number = next(_numbers)
        self.pid = pid
        self.generation = generation
        self.expires = inf
        self.idle_since = now
        self.has_news = watch(fileno)
        self.owner: Any = None
        self.since = 0.0
        self.epoch = 0
        self.gave: set[ref[Any]] = set()
        self.guest_of: Any = None
        self.label: Label | None = None
        self.noted: tuple[float, float, float] | None = None
        self.leak_reported = -1
        self.asked_at = 0.0
        self._aims = self._kept = 0
        self._ended = -1

    @property
    def checkout(self) -> str:
        """The present checkout, and no later one, of whichever connection of this process."""
        return f"{self.number}.{self.epoch}"

    # Each is called with the pool's lock held.

    def spent(self, now: float) -> tuple[float, float, float]:
        """Seconds of the present checkout: held, and of these at the server, and kept; 0.0 where nobody knows."""
        return now - self.since, 0.0, 0.0

    def has(self, number: int, epoch: int) -> bool:
        """Whether it is checked out, by the checkout of that name."""
        return self.number == number and self.epoch == epoch and self.owner is not None

    def aim(self) -> None:
        """Something is on its way that is meant for the present checkout: nobody else may be lent the connection."""
        if not self._aims:
            self._kept, self.generation = self.generation, _NONE
        self._aims += 1

    def hit(self, well: bool) -> None:
        """It has come. Unless all that was on its way did so ``well``, in the same checkout, nobody is lent it ever."""
        self._aims -= 1
        if not well:
            self._kept = _NONE
        if not self._aims:
            self.generation = self._kept

    def end(self) -> None:
        """The present checkout is about to be broken off: nobody else is lent the connection."""
        self.aim()
        self._ended = self.epoch

    @property
    def is_ended(self) -> bool:
        """Whether the present checkout was broken off, of which its borrower has yet to hear."""
        return self._ended == self.epoch

    @property
    def is_spoilt(self) -> bool:
        """Whether it has to be closed when it comes back."""
        return self.generation == _NONE

    def forget_the_gone(self) -> None:
        """Those who gave it back and are gone."""
        if self.gave:
            self.gave = {giver for giver in [*self.gave] if giver() is not None}
