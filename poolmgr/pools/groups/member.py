"""What a group keeps of one of its members."""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable

from poolmgr.pools.allowance import Allowance
from poolmgr.pools.groups.apportioning import Standing
from poolmgr.pools.port import Load, Member

#: Seconds over which demand is looked back at: room that is idle for longer is another member's.
WINDOW = 1.0
#: Seconds of a turn, where there are more members than room.
_TURN = 0.5


class Membership:
    """Guarded by the group's lock. ``share`` is what the member may have; one that is ``parting`` gets none any more."""

    def __init__(self, key: Hashable, pool: Member) -> None:
        self.key = key
        self.pool = pool
        self.share = 0
        self.parting = False
        self._told: Allowance | None = None
        self._since = 0.0
        self._demand: deque[tuple[float, int]] = deque()

    @property
    def is_open(self) -> bool:
        return not self.parting and not self.pool.retired

    @property
    def waits_for_room(self) -> bool:
        """Whether somebody waits there for what others have."""
        load = self.pool.load()
        return bool(load.pending) and load.used + load.pending > self.share

    def stands(self, now: float) -> Standing:
        """How it stands, its present demand noted."""
        load = self.pool.load()
        return Standing(
            self.share,
            load.held,
            load.used,
            load.pending,
            self._note(now, load),
            self._since,
            bool(self.share) and now - self._since >= _TURN,
        )

    def counts(self, load: Load) -> int:
        """What it may have at this moment."""
        return max(self.share, load.held)

    def allow(self, allowance: Allowance, now: float) -> None:
        """Tell it what it may have, if that is news. It counts with the larger of two shares until it has been told."""
        if bool(allowance.most) != bool(self.share):
            self._since = now
        self.share = max(self.share, allowance.most)
        if allowance != self._told:
            self._told = allowance
            self.pool.limit(allowance)
        self.share = allowance.most

    def _note(self, now: float, load: Load) -> int:
        self._demand.append((now, load.used + load.pending))
        while self._demand[0][0] < now - WINDOW:
            self._demand.popleft()
        return max(number for _, number in self._demand)
