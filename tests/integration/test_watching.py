"""Watching is cheap: what a checkout pays for metrics, entries and liveness is a handful of calls, whoever looks on."""

import gc
import sys
import tracemalloc
from collections.abc import Callable
from typing import Any

from poolmgr.targets.postgresql.housekeeping import look_after
from poolmgr.targets.postgresql.managed import ManagedPool

MakePool = Callable[..., ManagedPool]


def calls_of(work: Callable[[], Any]) -> int:
    """How many functions `work` calls, in Python and in C."""
    counted = [0]

    def count(frame: Any, event: str, argument: Any) -> None:
        counted[0] += event in ("call", "c_call")

    # A collection calls what others have left to be called.
    gc.collect()
    gc.disable()
    sys.setprofile(count)
    try:
        work()
    finally:
        sys.setprofile(None)
        gc.enable()
    return counted[0]


def test_a_checkout_and_its_return_are_a_handful_of_calls(make_pool: MakePool) -> None:  # P12
    pool = make_pool(max_size=2)

    def borrow() -> None:
        pool.give_back(pool.checkout())

    borrow()
    assert calls_of(borrow) <= 40


def test_it_costs_no_more_however_often_somebody_looks(make_pool: MakePool) -> None:  # P12
    pool = make_pool(max_size=2)

    def borrow() -> None:
        pool.give_back(pool.checkout())

    borrow()
    before = calls_of(borrow)
    for _ in range(200):
        pool.snapshot()
    assert calls_of(borrow) == before


def test_figures_take_the_same_memory_after_many_checkouts(make_pool: MakePool) -> None:  # P12
    pool = make_pool(max_size=2)

    def borrow(times: int) -> None:
        for _ in range(times):
            pool.give_back(pool.checkout())
        look_after(pool)  # what was noted since the last round is counted by each
        gc.collect()  # the interpreter keeps up to 2000 tuples that were let go for whoever needs the next

    borrow(100)
    tracemalloc.start()
    try:
        borrow(100)
        before, _ = tracemalloc.get_traced_memory()
        borrow(5000)
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert after - before < 20_000
