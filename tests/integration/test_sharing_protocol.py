"""The protocol by which budgets are shared, explored: real rows, this process's real part in it, and a world that is unkind.

What is simulated are the pools, which hold connections of numbers, and the clocks: those of the processes and of the
database run at the same pace. Deaths, freezes, partitions, claims that are late, replies that are lost, and a ledger that
loses its memory or is set back come in any order.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from math import inf
from types import SimpleNamespace
from typing import Any, TypeVar

import pytest
from django.db import DatabaseError
from django.db.models import Value
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from poolmgr.control.sharing.budget import LAPSED, OVER, RENEWED, Budget
from poolmgr.control.sharing.ledger import Answer, RowLedger, open_ledger
from poolmgr.control.sharing.share import Claim
from poolmgr.models import Lease, Ledger
from poolmgr.pools.allowance import NOTHING, Allowance
from poolmgr.pools.port import Load
from tests.sampling import THOROUGH, first_always

T = TypeVar("T")
TTL = 20.0
BUDGET, MOST = 7, 5
_BEGIN, _FOR_EVER = datetime(2026, 1, 1, tzinfo=UTC), datetime(9999, 1, 1, tzinfo=UTC)
_WHO = st.integers(0, 5)


@dataclass
class Clock:
    now: float = 100.0


@dataclass
class NumberPool:
    """A pool whose connections are numbers: ``used`` stay until they are returned, the rest go when they must."""

    clock: Clock
    target: str = "work"
    spec: Any = field(default_factory=lambda: SimpleNamespace(budget=BUDGET, max_size=MOST, min_size=1))
    allowance: Allowance | None = NOTHING
    used: int = 0
    idle: int = 0
    pending: int = 0
    closing: int = 0

    @property
    def is_limited(self) -> bool:
        return self.allowance is not None

    @property
    def held(self) -> int:
        return self.used + self.idle + self.closing

    def load(self) -> Load:
        return Load(self.held, self.used, self.pending)

    def limit(self, allowance: Allowance | None) -> None:
        self.allowance = allowance
        self.serve()

    def serve(self) -> None:
        """What a pool does by itself, at any moment that its process runs."""
        allowance = self.allowance
        most, ends = (MOST, inf) if allowance is None else (min(MOST, allowance.most), allowance.ends)
        if allowance is not None and self.clock.now >= allowance.lapses:
            most = 0
        if self.clock.now >= ends:
            self.used = 0
        self.idle = max(0, min(self.idle, most - self.used))
        while self.pending and (self.idle or self.held < most):
            self.idle -= bool(self.idle)
            self.used += 1
            self.pending -= 1

    def give_back(self, number: int) -> None:
        back = min(number, self.used)
        self.used -= back
        self.idle += back
        self.serve()


class Process:
    """A process with the real ``Budget`` on the real ledger."""

    def __init__(self, uid: str, clock: Clock, ledger: RowLedger, world: World) -> None:
        self.uid, self.clock, self.world = uid, clock, world
        self.pool = NumberPool(clock)
        self.cut_off = False
        self.frozen_since = inf
        self.budget = Budget(uid, _Line(self, ledger), TTL, lambda uids: False, self, lambda: clock.now)

    def holders(self) -> tuple[NumberPool, ...]:
        return (self.pool,)

    def set_limits(self, limits: Mapping[str, Allowance]) -> None:
        self.pool.limit(limits.get("work", NOTHING))

    @property
    def frozen(self) -> bool:
        return self.frozen_since < inf

    @property
    def counts(self) -> bool:
        """All but what is frozen for longer than its lease."""
        allowance = self.pool.allowance
        return not self.frozen or allowance is None or self.clock.now < allowance.ends

    def claim(self) -> None:
        try:
            self.budget.claim()
        except DatabaseError:
            self.budget.failed(None)  # type: ignore[arg-type]


class _Line:
    """The way from a process to the ledger, which may be long, broken, or broken on the way back."""

    def __init__(self, process: Process, ledger: RowLedger) -> None:
        self._process, self._ledger = process, ledger

    def claim(self, uid: str, serial: int, claims: Mapping[str, Claim], adopting: frozenset[str]) -> Answer:
        return self._go(lambda: self._ledger.claim(uid, serial, claims, adopting))

    def renew(self, uid: str, serial: int) -> bool:
        return self._go(lambda: self._ledger.renew(uid, serial))

    def _go(self, there: Callable[[], T]) -> T:
        trouble, self._process.world.trouble = self._process.world.trouble, None
        if self._process.cut_off or trouble == "refused":
            raise DatabaseError("cut off")
        if isinstance(trouble, tuple):
            self._process.world.meanwhile(self._process, *trouble)
        answer = there()
        if trouble == "lost":
            raise DatabaseError("no reply")
        return answer

    def lacking(self) -> dict[str, int]:
        return self._ledger.lacking()


class World(RuleBasedStateMachine):
    """Up to six processes of ``MOST`` connections each share ``BUDGET``."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        self.processes: list[Process] = []
        self.born = 0
        self.trouble: Any = None
        self.timeline = "00000001"
        self.backup: tuple[list[Any], list[Any]] = ([], [])
        Lease.objects.all().delete()
        Ledger.objects.all().delete()
        open_ledger()
        self.ledger = RowLedger(timedelta(seconds=TTL), lambda: _BEGIN + timedelta(seconds=self.clock.now))
        self.ledger._timeline = lambda: Value(self.timeline)  # type: ignore[method-assign]

    def running(self) -> list[Process]:
        return [process for process in self.processes if not process.frozen]

    def one(self, number: int) -> Process | None:
        found = self.running()
        return found[number % len(found)] if found else None

    @initialize(asked=st.lists(st.integers(0, 12), min_size=2, max_size=5))
    def begin(self, asked: list[int]) -> None:
        for number in asked:
            self.start()
            self.processes[-1].pool.pending = number
        self.live(list(range(6)), 1.0)

    @precondition(lambda self: len(self.processes) < 6)
    @rule()
    def start(self) -> None:
        self.born += 1
        self.processes.append(Process(f"p{self.born}", self.clock, self.ledger, self))

    @rule(who=_WHO, number=st.integers(1, 12), claims=st.booleans())
    def ask(self, who: int, number: int, claims: bool) -> None:
        if process := self.one(who):
            process.pool.pending = number
            process.pool.serve()
            if claims:
                process.claim()

    @rule(who=_WHO, number=st.integers(1, 5), claims=st.booleans())
    def give_back(self, who: int, number: int, claims: bool) -> None:
        if process := self.one(who):
            process.pool.give_back(number)
            if claims:
                process.claim()

    @rule(who=_WHO, trouble=st.sampled_from(["refused", "lost"]))
    def claim_in_trouble(self, who: int, trouble: str) -> None:
        self.claim_with(who, trouble)

    @rule(who=_WHO, seconds=st.floats(0, 4), others=st.lists(_WHO, max_size=4))
    def claim_late(self, who: int, seconds: float, others: list[int]) -> None:
        """What the process said of itself is old when it gets there: others have claimed meanwhile."""
        self.claim_with(who, (seconds, others))

    def claim_with(self, who: int, trouble: Any) -> None:
        if process := self.one(who):
            self.trouble = trouble
            process.claim()
            self.trouble = None

    def meanwhile(self, late: Process, seconds: float, others: list[int]) -> None:
        self.wait(seconds)
        for number in others:
            other = self.one(number)
            if other is not None and other is not late:
                other.claim()

    @rule(order=st.permutations(range(6)), seconds=st.sampled_from([0.0, 1.0, 2 * TTL]))
    def live(self, order: list[int], seconds: float) -> None:
        """Days without an event: everybody who can claims in time."""
        end = self.clock.now + seconds
        while True:
            for number in order:
                if process := self.one(number):
                    process.claim()
            if self.clock.now >= end:
                return
            self.wait(RENEWED * TTL)

    @rule(seconds=st.sampled_from([0.5, TTL / 2, TTL, 2 * TTL]))
    def wait(self, seconds: float) -> None:
        """Time in which nobody claims. In steps, since pools look at the clock all the time."""
        end = self.clock.now + seconds
        while self.clock.now < end:
            self.clock.now = min(end, self.clock.now + TTL * (OVER - LAPSED) / 2)
            for process in self.running():
                process.pool.serve()

    @rule(who=_WHO, what=st.sampled_from(["die", "end", "freeze", "cut off", "reach again"]))
    def befall(self, who: int, what: str) -> None:
        if (process := self.one(who)) is None:
            return
        if what == "freeze":
            process.frozen_since = self.clock.now
        elif what == "end":
            process.budget.let_go()
            if not process.cut_off:
                process.budget.give_back()
        else:
            process.cut_off = what == "cut off"
        if what == "die" or (what == "end" and not process.pool.held):
            self.processes.remove(process)

    @rule()
    def thaw(self) -> None:
        for process in self.processes:
            process.frozen_since = inf
            process.pool.serve()

    @rule(lost=st.sampled_from([[Lease], [Ledger], [Lease, Ledger]]))
    def lose_memory(self, lost: list[Any]) -> None:
        for model in lost:
            model.objects.all().delete()
        self.come_first()

    def come_first(self) -> None:
        """Somebody claims who can't know that anything was lost."""
        if len(self.processes) < 6:
            self.start()
            self.processes[-1].pool.pending = MOST
            self.processes[-1].claim()

    @rule()
    def back_up(self) -> None:
        self.backup = (list(Lease.objects.all()), list(Ledger.objects.all()))

    @precondition(lambda self: self.backup[1])
    @rule()
    def promote_a_standby_that_is_behind(self) -> None:
        Lease.objects.all().delete()
        Ledger.objects.all().delete()
        leases, ledgers = self.backup
        Lease.objects.bulk_create(leases)
        Ledger.objects.bulk_create(ledgers)
        self.timeline = f"{int(self.timeline, 16) + 1:08X}"
        self.come_first()

    @rule(
        until=st.sampled_from([_FOR_EVER, _BEGIN]),
        leases=st.sampled_from(['{"work": [9, 9, 9, 9, 9]}', '{"work": [9]}', "[]", "{", "1, 2"]),
    )
    def forge(self, until: datetime, leases: str) -> None:
        values = {"serial": 1, "until": until, "length": timedelta(seconds=TTL), "leases": leases}
        Lease.objects.update_or_create(uid="forged", defaults=values)

    @invariant()
    def nobody_holds_more_than_the_budget(self) -> None:  # P6
        held = {process.uid: process.pool.held for process in self.processes if process.counts}
        assert sum(held.values()) <= max(BUDGET, len(self.processes)), held


def test_lease_of_a_pool_that_is_gone_is_not_renewed(db: None) -> None:  # P6
    with _no_rows_left():
        world = World()
        world.start()
        process = world.processes[0]
        other = NumberPool(world.clock, "other")
        pools = [process.pool, other]
        process.holders = lambda: tuple(pools)  # type: ignore[method-assign]
        process.set_limits = lambda limits: [pool.limit(limits.get(pool.target, NOTHING)) for pool in pools]  # type: ignore[method-assign]
        for pool in pools:
            pool.pending = 1
        process.claim()
        process.claim()
        assert set(json.loads(Lease.objects.get().leases)) == {"work", "other"}
        pools.remove(other)
        world.wait(RENEWED * TTL)
        assert process.budget.due()
        process.claim()
        assert set(json.loads(Lease.objects.get().leases)) == {"work"}


def test_pool_that_opens_while_the_last_one_of_its_target_is_given_up_holds_nothing_without_a_lease(
    db: None,
) -> None:  # P6
    """It finds what its target may hold in force, until this process says that there is no such pool any more."""
    with _no_rows_left():
        world = World()
        world.start()
        process = world.processes[0]
        limits: Mapping[str, Allowance] = {}
        closed, opened = process.pool, NumberPool(world.clock, pending=3)
        pools = [closed]

        def tell(told: Mapping[str, Allowance]) -> None:
            nonlocal limits
            limits = told
            for pool in pools:
                pool.limit(limits.get(pool.target, NOTHING))

        process.holders = lambda: tuple(pools)  # type: ignore[method-assign]
        process.set_limits = tell  # type: ignore[method-assign]
        closed.pending = 3
        process.claim()
        closed.give_back(3)
        pools.clear()

        def open_another() -> None:
            pools.append(opened)
            opened.limit(limits.get("work", NOTHING))

        world.meanwhile = lambda late, seconds, others: open_another()  # type: ignore[method-assign]
        world.trouble = (0.0, [])
        process.claim()
        assert opened.held <= sum(
            lease["work"][0] for lease in map(json.loads, Lease.objects.values_list("leases", flat=True))
        )


def test_what_was_closing_when_a_process_claimed_is_room_as_soon_as_it_is_gone(db: None) -> None:  # P6
    with _no_rows_left():
        world = World()
        for asked in (3, MOST):
            world.start()
            world.processes[-1].pool.pending = asked
            world.processes[-1].claim()
        holder, other = world.processes
        holder.pool.give_back(2)
        for _ in range(2):  # who has had no use for it for a while
            world.wait(1)
            holder.budget.due()
        other.claim()
        idle, limit = holder.pool, holder.pool.limit

        def close_slowly(allowance: Allowance | None) -> None:
            before = idle.idle
            limit(allowance)
            idle.closing += before - idle.idle

        idle.limit = close_slowly  # type: ignore[method-assign]
        holder.budget.called()
        holder.claim()
        assert (idle.used, idle.idle, idle.closing) == (1, 1, 1)
        idle.closing = 0
        assert holder.budget.due()
        holder.claim()
        assert json.loads(Lease.objects.get(uid=holder.uid).leases)["work"][0] == 2
        assert not holder.budget.due()


def test_process_that_has_no_use_any_more_for_what_it_wanted_says_so(db: None) -> None:  # P6
    """It had no more than its share, so that nobody would call it."""
    with _no_rows_left():
        world = World()
        for _ in range(2):
            world.start()
            world.processes[-1].pool.pending = MOST
            world.processes[-1].claim()
        first, second = world.processes
        first.pool.give_back(2)
        world.live([0, 1], TTL)
        assert (first.pool.used, second.pool.used, second.pool.pending) == (3, 4, 1)
        assert not first.budget.due()
        first.pool.give_back(3)
        for _ in range(2):
            world.wait(0.5)
            due = first.budget.due()
        assert due
        first.claim()
        second.claim()
        first.budget.called()
        first.claim()
        second.claim()
        assert second.pool.used == MOST
        assert not first.budget.due()


def test_process_that_ends_with_something_in_use_has_it_broken_off_when_its_lease_is_over(db: None) -> None:  # P6
    """What it says with its last word is counted for the length of a lease, and it may hang for longer."""
    with _no_rows_left():
        world = World()
        for _ in range(2):
            world.start()
        ending, other = world.processes
        ending.pool.pending = MOST
        ending.claim()
        world.befall(0, "end")
        assert (ending.pool.used, ending.pool.idle) == (MOST, 0)
        world.wait(TTL)
        other.pool.pending = MOST
        other.claim()
        world.nobody_holds_more_than_the_budget()
        assert other.pool.used == MOST


def test_call_that_could_not_be_answered_is_answered_by_the_next_claim(db: None) -> None:  # P6
    """Whoever has called waits for the room, and calls nobody twice."""
    with _no_rows_left():
        world = World()
        world.start()
        process = world.processes[0]
        process.pool.pending = 1
        process.claim()
        assert not process.budget.due()
        process.budget.called()
        world.claim_with(0, "refused")
        assert process.budget.due()
        process.claim()
        assert not process.budget.due()


@contextmanager
def _no_rows_left() -> Iterator[None]:
    try:
        yield
    finally:
        Lease.objects.all().delete()
        Ledger.objects.all().delete()


@pytest.mark.timeout(600)
@pytest.mark.parametrize("examples", first_always(8, 150 if THOROUGH else 20))
def test_no_order_of_events_gives_live_processes_more_than_the_budget(db: None, examples: int) -> None:  # P6
    with _no_rows_left():
        run_state_machine_as_test(
            World,
            settings=settings(
                max_examples=examples,
                stateful_step_count=30,
                deadline=None,
                suppress_health_check=list(HealthCheck),
                print_blob=True,
            ),
        )
