"""How a budget is shared out: one pure step, max-min fair by demand, by which the sum never passes the budget."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from poolmgr.pools.fair import fill

#: What each process may hold where there are more of them than the budget has connections: with none it could serve nobody.
FLOOR = 1


class Claim(NamedTuple):
    """What a process asks of the budget of one target, in connections.

    ``held`` is what it really has, those that open or close included; ``limit`` the most that its pool may have now;
    ``want`` its demand: what was used and waited for lately; ``warm`` what it would keep although nobody asks for it;
    ``budget`` the most that all processes may have together, as far as this one knows.
    """

    held: int
    limit: int
    want: int
    warm: int
    budget: int


class Lease(NamedTuple):
    """What the ledger knows of a process: it holds ``holds`` at most, and goes towards ``limit``."""

    holds: int
    limit: int
    want: int
    warm: int
    budget: int


@dataclass(frozen=True, slots=True)
class Shared:
    """What came of a claim. ``lacking`` is the room that others must still make for somebody below their share.

    ``above`` names those who could make it, ``below`` those for whom there is room that they have not taken.
    """

    lease: Lease
    lacking: int
    above: tuple[str, ...]
    below: tuple[str, ...]


def reserve(budget: int) -> int:
    """What is kept for first connections, so that a process that starts need not wait for somebody's long request."""
    return budget // 10


def share_out(others: Mapping[str, Lease], uid: str, claim: Claim, *, may_grow: bool) -> Shared:
    """Answer the claim of ``uid``, given the leases of all ``others`` that live.

    The sum of all counts, which is at least what is really held, never grows past the budget by this; or past one for
    each process where that is more. Nobody is given room that somebody may still hold: who is above their share goes
    down first, and the room is free when a later claim of theirs says that it is. Without ``may_grow`` nobody is given
    more than they hold.
    """
    base = max(claim.held, claim.limit)
    if not may_grow:
        return Shared(Lease(base, base, *claim[2:]), 0, (), ())
    everyone = {**others, uid: Lease(base, base, *claim[2:])}
    room = _room(everyone)
    shares = _shares(everyone, room.shared)
    share = shares[uid]
    # Whoever is below their share counts with it, and who is above it with what they go towards.
    towards = sum([max(shares[name], other.limit) for name, other in others.items()])
    limit = _limit(base, share, towards + max(share, base) - room.shared, room)
    # Until the process says that its pool has come down, it may hold what it might have had before.
    lease = Lease(max(base, limit), limit, *claim[2:])
    # What those above their share must give up for those below, beyond what they have been told to.
    lacking = max(0, towards + max(share, limit) - room.shared)
    free = room.shared - room.taken + base - lease.holds
    above = _enough(lacking, others, lambda name: others[name].limit - shares[name])
    below = _enough(free, others, lambda name: shares[name] - others[name].holds)
    return Shared(lease, lacking, above, below)


class _Room(NamedTuple):
    """``whole`` is what all may hold together, ``shared`` that but for the reserve, ``taken`` what they may hold now."""

    whole: int
    shared: int
    taken: int


def _room(everyone: Mapping[str, Lease]) -> _Room:
    leases = everyone.values()
    budget = min([lease.budget for lease in leases])
    least = FLOOR * len([True for lease in leases if lease.holds or lease.want])
    taken = sum([lease.holds for lease in leases])
    return _Room(max(budget, least), max(budget - reserve(budget), least), taken)


def _limit(base: int, share: int, missing: int, room: _Room) -> int:
    """What somebody may have who has ``base`` and should have ``share``, where ``missing`` connections must be given up."""
    if base > share:
        return max(share, base - max(0, missing))
    limit = base + max(0, min(share - base, room.shared - room.taken))
    if share and not limit and room.taken < room.whole:
        return FLOOR  # the first connection may come out of the reserve
    return limit


def _enough(number: int, names: Iterable[str], difference: Callable[[str], int]) -> tuple[str, ...]:
    """As few as have ``number`` together, those with the largest differences first."""
    if number <= 0:
        return ()
    found: list[str] = []
    for lacks, name in sorted([(-each, name) for name in names if (each := difference(name)) > 0]):
        if number <= 0:
            break
        found.append(name)
        number += lacks
    return tuple(found)


def _shares(everyone: Mapping[str, Lease], room: int) -> dict[str, int]:
    """Demand comes first; what it leaves keeps connections warm."""
    holds = {name: lease.limit for name, lease in everyone.items()}
    first = fill(room, {name: lease.want for name, lease in everyone.items()}, holds)
    rest = room - sum(first.values())
    if not rest:
        return first
    extra = fill(rest, {name: max(0, lease.warm - lease.want) for name, lease in everyone.items()}, holds)
    return {name: first[name] + extra[name] for name in everyone}
