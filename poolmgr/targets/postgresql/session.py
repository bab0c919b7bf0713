"""What the pool knows of one session of the server."""

from __future__ import annotations

from time import monotonic
from typing import Any

from poolmgr.pools.entry import Entry

#: The pin of what must not be used again, such as what a cancel is on its way to.
SPOILT = "closed by its borrower"
#: What a checkout is at: nothing that the connection is needed for; waiting for an answer; something in between, for which
#: transaction mode would not have returned it. The first is 0, as it is tested for at each statement.
ELSEWHERE, ASKING, KEPT = 0, 1, 2


class SessionEntry(Entry):
    """A session of PostgreSQL's, as Django uses it; reachable as ``connection.entry``. One that is ``behind_pooler`` is the
    pooler's, and has no ``pid``.

    ``cursors``, ``held`` (open cursors that outlive a transaction), ``transactions`` (begun or ended so far), ``begun``
    (the borrower said BEGIN), ``pins``, ``greeted`` and ``greeted_by`` belong to the owner's thread, and to the pool while
    nobody owns the connection. ``greeted`` holds who was told that this connection was created, ``greeted_by`` which
    ``connect()`` did so. ``late`` takes, from any thread, one element for each cursor that was finalised outside the
    owner's thread. ``query`` is what a cursor was given last, in the checkout ``query_epoch``. ``loan`` refers weakly to
    what a task has in its hands; it counts what is ``said``.

    ``sql`` and ``kept`` are seconds of the present checkout: at the server, and otherwise such as transaction mode would not
    have returned it; but for what passed since ``marked``, when it became what it is ``doing`` now. Whoever has the
    connection writes them, without a lock.
    """

    __slots__ = (
        "begun",
        "behind_pooler",
        "cursors",
        "doing",
        "greeted",
        "greeted_by",
        "held",
        "kept",
        "late",
        "loan",
        "marked",
        "pins",
        "query",
        "query_epoch",
        "sql",
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
        self.doing = ELSEWHERE
        self.sql = self.kept = self.marked = 0.0

    def begin(self, now: float) -> None:
        """Somebody is about to have it, for whose checkout nothing counts that was before."""
        self.since = now
        self.cursors, self.doing = 0, ELSEWHERE
        self.sql = self.kept = 0.0
        self.noted = None

    def mark(self, doing: int) -> None:
        """From now on it is ``doing`` that: what passed since the last mark was spent at what it was doing until now."""
        now = monotonic()
        if self.doing == ASKING:
            self.sql += now - self.marked
        elif self.doing == KEPT:
            self.kept += now - self.marked
        self.doing = doing
        self.marked = now

    def mark_answered(self, is_at_rest: bool) -> None:
        """The answer is there; ``is_at_rest`` says that the connection has no transaction and commits by itself."""
        self.mark(self.unasked(is_at_rest))

    def unasked(self, is_at_rest: bool) -> int:
        """What it is doing while nothing is asked."""
        return ELSEWHERE if is_at_rest and not self.cursors and not self.pins else KEPT

    def spent(self, now: float) -> tuple[float, float, float]:
        sql, kept, passed = self.sql, self.kept, now - self.marked
        if self.doing == ASKING:
            sql += passed
        elif self.doing == KEPT:
            kept += passed
        return now - self.since, sql, kept

    def told(self) -> Any:
        """The last statement of the present checkout, as a cursor was given it; None before the first."""
        return self.query if self.query_epoch == self.epoch else None
