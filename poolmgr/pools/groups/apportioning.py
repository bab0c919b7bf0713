"""How the room of one target is shared out among the pools that a process has of it: two pure steps.

Who is above what is theirs goes down first; what has really come free by that is then given to those below. So the sum of
what the members have, or may have, never passes the room.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from heapq import heapify, heapreplace

from poolmgr.pools.fair import fill


@dataclass(frozen=True, slots=True)
class Standing:
    """A member, in connections: the ``share`` that it may have, what it has (``held``), uses and waits for.

    ``recent`` is the most that it used and waited for lately. ``since`` is when it got a share, or lost all of it, and
    ``is_served`` says that it has had one for so long that it is another's turn, where there are more members than room.
    """

    share: int
    held: int
    used: int
    pending: int
    recent: int
    since: float = 0.0
    is_served: bool = False

    @property
    def want(self) -> int:
        return self.used + self.pending

    @property
    def lacks(self) -> bool:
        """Whether it could use more than its share now, or has nothing to begin with."""
        return not self.share or bool(self.pending and self.want > self.share)

    @property
    def counts(self) -> int:
        """What it may have at this moment."""
        return max(self.share, self.held)


#: Of the room and how all stand: the shares that follow.
Step = Callable[[int, Sequence[Standing]], list[int]]


def due(room: int, members: Sequence[Standing]) -> list[int]:
    """What is each member's by max-min fairness: one each if there is room for that, and then by demand.

    Who lacks nothing is taken by what it wanted lately, so that a pause between two requests costs nobody a connection.
    """
    if room < len(members):
        return _turns(room, members)
    asks = {at: max(1, each.want if each.lacks else each.recent) for at, each in enumerate(members)}
    shares = fill(room, asks, {at: each.share for at, each in enumerate(members)})
    return [shares[at] for at in range(len(members))]


def _turns(room: int, members: Sequence[Standing]) -> list[int]:
    """For more members than room: those that want something take turns, who has gone without for longest first."""
    wanting = sorted((_rank(each), at) for at, each in enumerate(members) if each.want)
    next_ones = {at for _, at in wanting[:room]}
    return [1 if at in next_ones else 0 for at in range(len(members))]


def _rank(member: Standing) -> tuple[int, float]:
    if member.share:
        return (2, -member.since) if member.is_served else (0, member.since)
    return 1, member.since


def lowered(room: int, members: Sequence[Standing]) -> list[int]:
    """The shares after as much was called in as others lack, or as there is too much: what nobody has a connection for
    first, then what is more than a member is due. While more is held than there is room for, nobody may open another, and
    what is idle goes wherever it is."""
    theirs = due(room, members)
    shares = [each.share for each in members]
    lacking = sum(max(0, is_due - each.share) for is_due, each in zip(theirs, members, strict=True) if each.lacks)
    missing = sum(shares) + lacking - room
    held = [each.held for each in members]
    for floors in ([max(pair) for pair in zip(theirs, held, strict=True)], theirs):
        missing = _take(missing, shares, floors)
    # What is neither used nor within a share is on its way already, so that of the idle ones no more go than must.
    for floors in (held, [each.used for each in members]):
        too_many = sum(max(pair) for pair in zip(shares, floors, strict=True)) - room
        _take(too_many, shares, floors)
    return shares


def _take(number: int, shares: list[int], floors: Sequence[int]) -> int:
    """Take ``number`` from what is above the floors, the most first; how many are missing still."""
    over = [share - floor for share, floor in zip(shares, floors, strict=True)]
    for at in sorted(range(len(shares)), key=lambda at: -over[at]):
        less = max(0, min(number, over[at]))
        shares[at] -= less
        number -= less
    return number


def raised(room: int, members: Sequence[Standing]) -> list[int]:
    """The shares after what is free was given out: to those who lack it, the rest evenly, lest anybody must ask for it."""
    free = room - sum(each.counts for each in members)
    shares = [each.share for each in members]
    if free <= 0:
        return shares
    theirs = due(room, members)
    short = {at: max(0, theirs[at] - each.share) for at, each in enumerate(members) if each.lacks}
    for at, more in fill(free, short, dict.fromkeys(short, 0)).items():
        shares[at] += more
        free -= more
    if short and any(shares[at] < theirs[at] for at in short):
        return shares
    return _spread(free, shares)


def _spread(free: int, shares: list[int]) -> list[int]:
    heap = [(share, at) for at, share in enumerate(shares)]
    heapify(heap)
    for _ in range(free if heap else 0):
        share, at = heap[0]
        heapreplace(heap, (share + 1, at))
    return [share for _, share in sorted((at, share) for share, at in heap)]
