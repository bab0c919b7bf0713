"""What a pool that closes does about connections that are out: whoever still works keeps theirs, nobody else does."""

import logging
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from time import monotonic
from typing import Any

import pytest
from django.db import connection

from poolmgr.exceptions import CheckoutError, PoolClosed
from poolmgr.pools import registry
from poolmgr.pools.allowance import NOTHING, Allowance
from poolmgr.pools.desired import Desired
from poolmgr.pools.spec import make_spec
from poolmgr.targets.postgresql.managed import ManagedPool
from poolmgr.targets.postgresql.work import in_worker
from tests.agents import without_agent
from tests.integration.backend import backend_pid
from tests.pools import backends, give_back, hold, parameters, wait_in_thread
from tests.waiting import until

MakePool = Callable[..., ManagedPool]


def checked_out_in_a_thread(pool: ManagedPool, stay: threading.Event) -> threading.Thread:
    """A borrower that has a connection when this returns, and ends without giving it back once it may."""
    taken = threading.Event()

    def borrow() -> None:
        kept: Any = pool.checkout()
        taken.set()
        stay.wait(20)
        del kept

    thread = threading.Thread(target=borrow)
    thread.start()
    assert taken.wait(10)
    return thread


def test_what_ended_threads_held_goes_with_the_pool(make_pool: MakePool, pool_url: str) -> None:  # P4
    pool = make_pool(max_size=3)
    stay = threading.Event()
    stay.set()
    for _ in range(2):
        checked_out_in_a_thread(pool, stay).join()
    pool.close()
    # Not in a while: whoever closes a pool may be about to drop the database.
    assert backends(pool_url) == set()


def test_who_holds_a_connection_of_a_closed_pool_may_go_on_and_end_without_giving_it_back(  # P4
    make_pool: MakePool, pool_url: str
) -> None:
    pool = make_pool(max_size=3)
    stay = threading.Event()
    thread = checked_out_in_a_thread(pool, stay)
    pool.close()
    assert len(backends(pool_url)) == 1
    stay.set()
    thread.join()
    until(lambda: not backends(pool_url), "the server process to end")


def test_a_database_may_be_dropped_right_after_its_threads_have_ended(  # P4
    small_pool: Callable[..., ManagedPool],
) -> None:
    """As a test run does it, whose threads close nothing; without a pool their connections are gone with them."""
    small_pool("session", max_size=2)
    pids: list[int] = []
    thread = threading.Thread(target=lambda: pids.append(backend_pid()))
    thread.start()
    thread.join()
    registry.quiesce("default")
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_stat_activity WHERE pid = %s", pids)
        assert cursor.fetchone() == (0,)


@pytest.fixture
def open_pool(pool_url: str, settings: Any) -> Iterator[MakePool]:
    """The registry's pool of a target, of two connections at most, made anew where it was closed."""
    settings.POOLMGR = {**settings.POOLMGR, "AGENT": False}
    without_agent()

    def get(**settings: Any) -> ManagedPool:
        spec = make_spec({"min_size": 0, "max_size": 2, **settings})
        given = {**parameters(pool_url), "autocommit": True}
        return registry.get_or_make("closing", lambda: ManagedPool("closing", spec, lambda: given))

    yield get
    registry.close("closing")


def test_looks_at_the_server_do_not_count_each_other(pool_url: str) -> None:
    """Nor the one before, whose process ends when its session is closed, and not at once."""
    with ThreadPoolExecutor(4) as several:
        seen = several.map(backends, [pool_url] * 16)
    assert set().union(*seen) == set()


def test_what_a_closed_pool_has_out_still_counts_against_the_next_one(  # P6
    open_pool: MakePool, pool_url: str
) -> None:
    old = open_pool()
    held = hold(old, 2)
    registry.close("closing")
    new = open_pool()
    with pytest.raises(CheckoutError):
        new.checkout(timeout=0.5)
    assert len(backends(pool_url)) == 2
    old.give_back(held.pop())
    conn = new.checkout()
    assert len(backends(pool_url)) == 2
    assert new.load().held == 2
    new.give_back(conn)
    give_back(old, held)
    give_back(new, hold(new, 2))
    assert new.load().held == len(backends(pool_url)) == 2


def test_who_waits_at_the_next_pool_is_served_when_the_closed_ones_have_their_connections_back(  # P6
    open_pool: MakePool, pool_url: str
) -> None:
    oldest = open_pool()
    first = oldest.checkout()
    registry.close("closing")
    older = open_pool()
    second = older.checkout()
    registry.close("closing")
    got: list[Any] = []
    new = open_pool()
    waiting = wait_in_thread(new, got)
    assert len(backends(pool_url)) == 2
    oldest.give_back(first)
    waiting.join()
    assert len(backends(pool_url)) == 2
    new.give_back(got[0])
    older.give_back(second)


def test_what_an_ended_thread_held_of_a_closed_pool_is_the_next_ones_to_open(  # P4 P6
    open_pool: MakePool,
) -> None:
    """Although somebody refers to it still."""
    old = open_pool()
    held: list[Any] = []
    stay = threading.Event()

    def borrow() -> None:
        held.extend(hold(old, 2))
        stay.wait(20)

    thread = threading.Thread(target=borrow)
    thread.start()
    until(lambda: len(held) == 2, "two connections to be taken")
    registry.close("closing")
    new = open_pool()
    stay.set()
    thread.join()
    give_back(new, hold(new, 2))


def test_what_a_closed_pool_has_out_is_broken_off_when_the_lease_is_over(  # P6
    open_pool: MakePool, pool_url: str
) -> None:
    old = open_pool()
    held = old.checkout()
    now = monotonic()
    old.limit(Allowance(2, lapses=now + 0.3, ends=now + 0.6))
    registry.close("closing")
    until(lambda: not backends(pool_url), "the connection to be broken off")
    old.give_back(held)


def test_closed_pool_ends_its_threads_with_its_last_borrower(open_pool: MakePool) -> None:  # P4
    def threads() -> set[str]:
        return {thread.name for thread in threading.enumerate() if thread.name.startswith("closing-")}

    pool = open_pool()
    held = pool.checkout()
    registry.close("closing")
    assert threads()
    pool.give_back(held)
    until(lambda: not threads(), "its threads to end")
    assert all(pool.target != "closing" for pool in registry.holders())


def test_pool_that_may_hold_nothing_opens_nothing_however_many_it_keeps_warm(  # P6
    open_pool: MakePool, pool_url: str
) -> None:
    registry.set_limits({"closing": NOTHING})
    try:
        pool = open_pool(min_size=2)
        done = threading.Event()
        # After all that the pool's opening has left to its workers.
        in_worker(pool.pool, done.set)
        assert done.wait(10)
        assert pool.load().held == pool.snapshot().created == 0
    finally:
        registry.lift_limits()
    until(lambda: len(backends(pool_url)) == 2, "the warm ones to be opened")


def test_limit_that_is_told_while_a_pool_begins_is_the_one_that_counts(open_pool: MakePool) -> None:  # P6
    """In another thread the agent may hear of a lower one at any time, as when the pool says whom it follows."""

    class Telling(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if "revision 7" in record.getMessage():
                registry.set_limits({"closing": Allowance(1)})

    handler, logger = Telling(), logging.getLogger("poolmgr.pool")
    logger.addHandler(handler)
    registry.set_limits({"closing": Allowance(2)})
    registry.set_desired({"closing": Desired(make_spec({"min_size": 0, "max_size": 3}), "profile 1", 7)})
    try:
        assert open_pool().snapshot().limit == 1
    finally:
        logger.removeHandler(handler)
        registry.set_desired({})
        registry.lift_limits()


@pytest.mark.parametrize("opened", [True, False])
def test_pool_that_was_closed_by_the_time_somebody_opens_it_stays_closed(pool_url: str, opened: bool) -> None:  # P4
    """Each of those who find a new one opens it; in between another thread may close it."""
    given = parameters(pool_url)
    pool = ManagedPool("shut", make_spec({"min_size": 1}), lambda: given)
    if opened:
        pool.open()
    pool.close()
    pool.open()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("shut-")]
    with pytest.raises(PoolClosed):
        pool.checkout(timeout=0.5)


def test_finaliser_leaves_work_to_a_closed_pool_while_threads_can_t_be_started(open_pool: MakePool) -> None:  # P4
    """The garbage may be collected in the middle of a thread's start, or of a look at all threads."""
    pool = open_pool()
    pool.close()
    goes, left, done = threading.Event(), threading.Event(), threading.Event()

    def leave() -> None:
        goes.wait(10)
        in_worker(pool.pool, done.set)
        left.set()

    thread = threading.Thread(target=leave)
    thread.start()
    with threading._active_limbo_lock:  # type: ignore[attr-defined]
        goes.set()
        was_left = left.wait(5)
    thread.join()
    assert was_left
    assert done.wait(10)


def test_work_is_left_for_later_without_waiting_for_who_does_so_too(open_pool: MakePool) -> None:  # P4
    """One has the pool's lock, and the other wants it, where a finaliser gives a connection back in the middle of it."""
    pool, inside, goes, done = open_pool(), threading.Event(), threading.Event(), threading.Event()

    class Moment(float):
        def __lt__(self, other: float) -> bool:
            inside.set()
            goes.wait(20)
            return super().__lt__(other)

    def leave(moment: float, work: Callable[[], object]) -> threading.Thread:
        thread = threading.Thread(target=pool.pool._sched.enterabs, args=[moment, work], daemon=True)
        thread.start()
        return thread

    leave(Moment(monotonic()), lambda: None)
    assert inside.wait(10)
    second = leave(monotonic(), done.set)
    second.join(5)
    waited = second.is_alive()
    goes.set()
    assert not waited
    assert done.wait(10)


def test_what_is_left_to_the_threads_of_a_pool_that_have_just_ended_is_done(open_pool: MakePool) -> None:  # P4
    pool = open_pool()
    pool.close()
    done: list[None] = []
    in_worker(pool.pool, lambda: done.append(None))
    until(lambda: done == [None], "the work to be done")
