"""Many threads at once, while settings change, connections die and an operator is at work; whatever the kind."""

import random
import threading
from collections.abc import Callable
from time import monotonic
from typing import Any

import pytest

from poolmgr.exceptions import CheckoutError
from poolmgr.pools.allowance import Allowance
from tests.kinds.subjects import Subject
from tests.waiting import until

pytestmark = pytest.mark.long

#: Seconds of load.
LASTS = 1.5
MOST = 5
#: How often a borrower gives back once more what it had.
RETURNS_TWICE = 0.1


class Load:
    """Threads that borrow, use and give back, and see that nobody else has what they have."""

    def __init__(self, subject: Subject, threads: int, broken: tuple[type[Exception], ...] = ()) -> None:
        self.subject = subject
        self.stop = threading.Event()
        self.faults: list[Any] = []
        self.uses = self.failures = 0
        self._broken = broken
        self._lock = threading.Lock()
        self._borrowed: set[int] = set()
        self._threads = [threading.Thread(target=self._run, args=[number]) for number in range(threads)]

    def __enter__(self) -> "Load":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *args: object) -> None:
        self.stop.set()
        for thread in self._threads:
            thread.join(30)
        assert not any(thread.is_alive() for thread in self._threads)

    def _run(self, seed: int) -> None:
        chance = random.Random(seed)
        had: list[Any] = []
        while not self.stop.is_set():
            try:
                self._once(chance, had)
            except self._broken:
                with self._lock:
                    self.failures += 1
            except Exception as ex:
                self.faults.append(ex)

    def _once(self, chance: random.Random, had: list[Any]) -> None:
        if had and chance.random() < RETURNS_TWICE:
            self.subject.give_back(had.pop())
        had.clear()
        conn = self.subject.borrow()
        with self._lock:
            if id(conn) in self._borrowed:
                self.faults.append("two borrowers of one connection")
            self._borrowed.add(id(conn))
        try:
            for _ in range(chance.randrange(3)):
                self.subject.use(conn)
            self.uses += 1
        finally:
            with self._lock:
                self._borrowed.discard(id(conn))
            self.subject.give_back(conn)
            if chance.random() < RETURNS_TWICE:
                self.subject.give_back(conn)
        had.append(conn)


def while_it_lasts(act: Callable[[random.Random], object]) -> None:
    chance, end = random.Random(7), monotonic() + LASTS
    while monotonic() < end:
        act(chance)


def differing(subject: Subject) -> str:
    """What the server has of the pool and it doesn't know, and the other way round."""
    known, there = set(subject.pool.snapshot().backend_pids), subject.ends()
    if known == there:
        return ""
    return f"the pool alone has {known - there} ({subject.pool.snapshot()}) and the server alone {subject.told(there - known)}"


def settled(subject: Subject) -> None:
    """Nothing is lost, in use or in between, and the figures agree with each other and with the server."""
    until(lambda: (seen := subject.pool.snapshot()).size == seen.idle and not seen.pending, "the pool to come to rest")
    until(lambda: not differing(subject), lambda: f"the server to have what the pool has, where {differing(subject)},")
    seen = subject.pool.snapshot()
    assert seen.use_time.count == seen.checkouts
    held = subject.hold(seen.limit)
    assert len({subject.use(conn) for conn in held}) == seen.limit
    subject.give_all_back(held)


def test_edits_pauses_and_recycles_under_load_fail_nobody(subject: Subject) -> None:  # P3 P4 P5
    subject.open(max_size=MOST, connection_timeout=20, max_lifetime=0)

    def act(chance: random.Random) -> None:
        what = chance.randrange(5)
        if what == 0:
            subject.change(max_size=(size := chance.randint(1, MOST)), min_size=chance.randint(0, size))
        elif what == 1:
            subject.pool.pause()
            subject.pool.resume()
        elif what == 2:
            subject.pool.recycle(0.2)
        elif what == 3:
            subject.pool.limit(Allowance(chance.randint(0, MOST)))
            subject.pool.limit(None)
        else:
            subject.change(max_lifetime=chance.choice([0, 0.05]), validation=chance.choice(["socket", "query", "off"]))

    with Load(subject, 8) as load:
        while_it_lasts(act)
    assert load.faults == []
    assert load.uses
    subject.change(max_size=MOST, min_size=0, max_lifetime=0, validation="socket")
    settled(subject)


def test_server_ends_that_die_under_load_cost_their_users_alone(subject: Subject) -> None:  # P3 P4 P6 P7
    subject.open(max_size=MOST, connection_timeout=20)
    with Load(subject, 8, broken=subject.breaks) as load:
        while_it_lasts(lambda chance: subject.kill_one() if chance.random() < 0.7 else subject.pool.recycle(0.1))
    assert load.faults == []
    assert load.uses
    settled(subject)


def test_short_timeouts_under_load_lose_no_connection(subject: Subject) -> None:  # P4 P8
    subject.open(max_size=1, connection_timeout=5.0, max_waiting=4)
    subject.give_all_back(subject.hold(1))  # a busy machine may take longer to connect than anybody waits below
    subject.change(connection_timeout=0.05)
    with Load(subject, 8, broken=(CheckoutError,)) as load:
        while_it_lasts(lambda chance: load.stop.wait(0.05))
    assert load.faults == []
    assert load.uses
    subject.change(connection_timeout=5.0)
    settled(subject)


@pytest.mark.parametrize("most", [1, 3])
def test_server_never_has_more_than_max_size_whatever_breaks(subject: Subject, most: int) -> None:  # P6
    subject.open(max_size=most, connection_timeout=20)
    seen = [0]

    def act(chance: random.Random) -> None:
        seen[0] = max(seen[0], len(subject.ends()))
        if chance.random() < 0.3:
            threading.Thread(target=subject.pool.recycle, args=[0.2]).start()

    with Load(subject, 6) as load:
        while_it_lasts(act)
    assert load.faults == []
    assert 1 <= seen[0] <= most
    settled(subject)
