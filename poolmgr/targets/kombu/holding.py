"""Who holds a connection, and who may give it back."""

from __future__ import annotations

from typing import Any, NamedTuple

from poolmgr.pools.labels import Label
from poolmgr.pools.owners import is_alive


class Held(NamedTuple):
    """A connection that is checked out; ``number`` is no other checkout's in this process."""

    owner: Any
    label: Label | None
    since: float
    number: int

    @property
    def checkout(self) -> str:
        """As a snapshot's holder has it."""
        return f"{self.number}.0"


def may_give(giver: Any, connection: Any, owner: Any) -> bool:
    """Whether ``giver`` ends the checkout of ``owner``, and not again one of their own: kombu's connections outlive those.

    Any thread may, but not one that had this connection, or gave it back, before. Called with the lock held.
    """
    gave: set[int] = connection.__dict__.setdefault("gave", set())
    if owner is not giver:
        if id(giver) in gave and is_alive(owner):
            return False
        gave.add(id(owner))
    gave.add(id(giver))
    return True
