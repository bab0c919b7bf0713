"""What the pool knows of one session of the server."""

from __future__ import annotations

from typing import Any

from poolmgr.pools.entry import Entry

#: The pin of what must not be used again, such as what a cancel is on its way to.
SPOILT = "closed by its borrower"


class SessionEntry(Entry):
    """A session of PostgreSQL's, as Django uses it; reachable as ``connection.entry``. One that is ``behind_pooler`` is the
    pooler's, and has no ``pid``.

    ``cursors``, ``held`` (open cursors that outlive a transaction), ``transactions`` (begun or ended so far), ``begun``
    (the borrower said BEGIN), ``pins``, ``greeted`` and ``greeted_by`` belong to the owner's thread, and to the pool while
    nobody owns the connection. ``greeted`` holds who was told that this connection was created, ``greeted_by`` which
    ``connect()`` did so. ``late`` takes, from any thread, one element for each cursor that was finalised outside the
    owner's thread. ``query`` is what a cursor was given last, in the checkout ``query_epoch``. ``loan`` refers weakly to
    what a task has in its hands; it counts what is ``said``.
    """

    __slots__ = (
        "begun",
        "behind_pooler",
        "cursors",
        "greeted",
        "greeted_by",
        "held",
        "late",
        "loan",
        "pins",
        "query",
        "query_epoch",
        "transactions",
    )

    def __init__(self, fileno: int, pid: int, generation: int, now: float) -> None:
        super().__init__(fileno, pid, generation, now)
        self.behind_pooler = False
        self.cursors = 0
        self.held = 0
        self.transactions = 0
        self.begun = False
        self.late: list[None] = []
        self.pins: set[str] = set()
        self.greeted: list[Any] | None = None
        self.greeted_by: Any = None
        self.loan: Any = None
        self.query: Any = None
        self.query_epoch = -1

    def told(self) -> Any:
        """The last statement of the present checkout, as a cursor was given it; None before the first."""
        return self.query if self.query_epoch == self.epoch else None
