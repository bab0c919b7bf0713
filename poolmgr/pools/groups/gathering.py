"""The pools that a process has of one target, and how they share its room.

The law of the lock: what belongs to all is read for decisions and written with ``_lock`` held. Members are told with it
held, since what they may have together must be right at every moment; that never waits, by the law of the port. A member
never takes it: it calls ``stir()``, upon which the ticker's thread looks. So whoever is in a member's section, the garbage
collector included, waits for nobody here.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import replace
from threading import Lock
from time import monotonic

from msgspec import structs

from poolmgr.exceptions import PoolExhausted
from poolmgr.metrics.phrases import phrase
from poolmgr.metrics.snapshot import PoolSnapshot
from poolmgr.pools.allowance import NOTHING, Allowance
from poolmgr.pools.core.ticker import ticker
from poolmgr.pools.desired import Desired
from poolmgr.pools.diagnosis import Diagnosis
from poolmgr.pools.groups import apportioning, summing
from poolmgr.pools.groups.member import Membership
from poolmgr.pools.port import Load, Member, Pool
from poolmgr.pools.spec import PoolSpec
from poolmgr.pools.uses import Uses

#: Seconds until the next look while somebody lacks room that others must make, and from one look to the next at least:
#: in a crowd somebody begins to wait all the time.
_SOON, _PAUSE = 0.1, 0.02


class Gathering:
    """Members come and go by their keys; each has a share of ``max_size`` and of the lease, which moves by demand."""

    def __init__(self, target: str, bootstrap: PoolSpec) -> None:
        self.target = target
        self.desired = Desired(bootstrap)
        self.spec = bootstrap
        self.opened = self.retired = self.paused = False
        self.problem = ""
        self._lock = Lock()
        self._members: tuple[Membership, ...] = ()  # replaced as a whole, so that it may be read without the lock
        self._allowance: Allowance | None = None
        self._predecessor: Pool | None = None
        self._last_address = ""
        self._gone = PoolSnapshot(target)  # with the counters of members that are no more
        self._uses_of_gone = Uses()
        self._is_stirred = self._looks_again = False
        self._looked_at = 0.0

    # -- members ------------------------------------------------------------------------------------------------------

    def join(self, key: Hashable, make: Callable[[], Member]) -> Member:
        """The open member by this key; ``make`` is called when there is none, and must start nothing.

        In a group that is closed it is a closed one.
        """
        member = self._member(key)
        if member is None:
            made = make()
            with self._lock:
                # Of two that were made at once the second is dropped.
                member = self._member(key) or self._admit(key, made)
        if self.opened and not member.retired:
            member.open()
        return member

    def leave(self, key: Hashable) -> None:
        """Close a member, whose connections count until they are gone. Takes no lock: the garbage collector may call."""
        for each in self._members:
            if each.key == key and not each.parting:
                each.parting = True
                self.stir()

    @property
    def members(self) -> dict[Hashable, Member]:
        """The open ones by their keys."""
        return {each.key: each.pool for each in self._members if each.is_open}

    def _member(self, key: Hashable) -> Member | None:
        return next((each.pool for each in self._members if each.key == key and each.is_open), None)

    def _admit(self, key: Hashable, made: Member) -> Member:
        made.peers = self
        self._last_address = made.address
        made.begin(self.desired, NOTHING, None)
        if self.retired:
            made.retire()
            return made
        if self.paused:
            made.pause()
        self._members = (*self._members, Membership(key, made))
        self._share_out()
        return made

    # -- what members say ---------------------------------------------------------------------------------------------

    def stir(self) -> None:
        """Have the ticker's thread see whether room should move between members. Costs little where there is one."""
        if (len(self._members) > 1 or self._is_watchful) and not self._is_stirred:
            self._is_stirred = True
            ticker().at(max(monotonic(), self._looked_at + _PAUSE), self._look)

    def pending_beside(self, member: object) -> int:
        """How many requests wait at the others."""
        return sum(each.pool.load().pending for each in self._members if each.pool is not member)

    @property
    def _is_watchful(self) -> bool:
        """Whether something is on its way out, whose room others wait for."""
        return self._predecessor is not None or not all(each.is_open for each in self._members)

    def figures(self) -> str:
        """What an error of one of several should say of all of them."""
        load, number = self.load(), len(self.members)
        if number < 2:
            return ""
        return f"in all {number} pools of the target here {load.used} in use of {load.held}, {load.pending} waiting"

    # -- sharing out --------------------------------------------------------------------------------------------------

    def _look(self) -> None:
        self._is_stirred = False
        with self._lock:
            self._share_out()

    def _look_again(self) -> None:
        self._looks_again = False
        with self._lock:
            self._share_out()

    # Each of these is called with the lock held.

    @property
    def _room(self) -> int:
        """What all may have together."""
        if self.retired:
            return 0
        most = self.spec.max_size if self._allowance is None else min(self.spec.max_size, self._allowance.most)
        return max(0, most - self._left_over())

    def _left_over(self) -> int:
        """Connections of a closed pool before that are not gone yet, in whose way the members' are."""
        left = self._predecessor.load().held if self._predecessor else 0
        if not left:
            self._predecessor = None
        return left

    def _share_out(self) -> None:
        """Move room to where it is wanted, as far as it is there."""
        now = self._looked_at = monotonic()
        self._part()
        members = [each for each in self._members if each.is_open]
        self._move(apportioning.lowered, members, now)
        # Asked again: who was told to have less can't have more by now.
        self._move(apportioning.raised, members, now)
        if not self._looks_again and self._is_unsettled(members):
            self._looks_again = True
            ticker().at(now + _SOON, self._look_again)

    def _is_unsettled(self, members: list[Membership]) -> bool:
        """Whether members go on to use what others wait for, or what is more than all may have."""
        if self._predecessor is not None or len(members) < 2:
            return self._predecessor is not None
        return any(each.waits_for_room for each in members) or self._counts() > self._room

    def _counts(self) -> int:
        """What all may have at this moment."""
        return sum(each.counts(each.pool.load()) for each in self._members)

    def _part(self) -> None:
        """Close who leaves, and keep the counts of who has gone."""
        for each in self._members:
            if not each.is_open:
                if not each.pool.retired:
                    each.pool.retire()
                each.share = 0
                if not each.pool.load().held:
                    seen = each.pool.snapshot()
                    self._gone = structs.replace(self._gone, **summing.counted([self._gone, seen]))
                    self._uses_of_gone.absorb(seen.uses)
                    self._members = tuple(other for other in self._members if other is not each)

    def _move(self, step: apportioning.Step, members: list[Membership], now: float) -> None:
        room = self._room
        free = room - sum(each.counts(each.pool.load()) for each in self._members if not each.is_open)
        shares = step(max(0, free), [each.stands(now) for each in members])
        self.problem = self._told_of_turns(len(members), room) if 0 < room < len(members) else ""
        warm, over = divmod(min(self.spec.min_size, room), max(1, len(members)))
        for at, (each, share) in enumerate(zip(members, shares, strict=True)):
            each.allow(self._allowance_of(share, warm + (at < over), room), now)

    def _allowance_of(self, share: int, least: int, room: int) -> Allowance:
        given = self._allowance or NOTHING
        failure = given.failure
        if not share and room and failure is None:
            others = f"the other pools of {self.target!r} in this process have all {room} that it may have"
            failure = Diagnosis(PoolExhausted, f"pool exhausted: {self.problem or others}")
        return replace(given, most=share, least=least, failure=failure)

    def _told_of_turns(self, number: int, room: int) -> str:
        advice = "max_size" if self.spec.max_size < number else phrase("its budget")
        return phrase(
            "%(n)s pools of '%(target)s' in this process take turns at %(room)s, all that it may have; raise %(what)s",
            n=number,
            target=self.target,
            room=room,
            what=advice,
        )

    def load(self) -> Load:
        """What it holds and what is asked of it.

        While more is held than it may have, what single members may still open counts as held: their sum may grow to that.
        """
        with self._lock:
            left, room = self._left_over(), self._room
            loads = [(each, each.pool.load()) for each in self._members]
        held = sum(load.held for _, load in loads)
        counts = sum(each.counts(load) for each, load in loads)
        used, pending = sum(load.used for _, load in loads), sum(load.pending for _, load in loads)
        return Load((held if counts <= room else counts) + left, used + left, pending)
