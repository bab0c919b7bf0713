"""What a pool knows of one of its connections, whatever the library."""

from __future__ import annotations

from math import inf
from typing import Any
from weakref import ref

from poolmgr.pools.labels import Label
from poolmgr.pools.sockets import watch


class Entry:
    """``owner``, ``since``, ``epoch`` and ``idle_since`` are guarded by the pool's lock; times are on the monotonic clock.

    ``pid`` is the id of the server's end, ``epoch`` goes up when a checkout ends. ``gave`` has those who gave it back, or had
    it when another did, but weakly: they come and go, and a later one may have an earlier one's id. ``guest_of`` is the
    request, with its attribute ``over``, for which a thread that is not the request's own has taken the connection; it
    belongs to the owner's thread. ``label`` is what the present or the last owner works for. ``has_news(0)`` tells without
    waiting whether the server has sent something or hung up.
    """

    __slots__ = (
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
        "owner",
        "pid",
        "since",
    )

    def __init__(self, fileno: int, pid: int, generation: int, now: float) -> None:
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
        self.leak_reported = -1
        self.asked_at = 0.0

    def forget_the_gone(self) -> None:
        """Those who gave it back and are gone. Called with the pool's lock held."""
        if self.gave:
            self.gave = {giver for giver in [*self.gave] if giver() is not None}
