"""What a pool that closes does about connections that are out: whoever still works keeps theirs, nobody else does."""

import threading
from collections.abc import Callable
from typing import Any

from django.db import connection

from poolmgr.pools import registry
from poolmgr.pools.managed import ManagedPool
from tests.integration.backend import backend_pid
from tests.pools import backends
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
