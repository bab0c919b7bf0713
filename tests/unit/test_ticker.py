"""What is due, and who says so."""

import threading
from time import monotonic

from poolmgr.pools.core.ticker import Ticker


class Pool:
    def __init__(self) -> None:
        self.done = threading.Event()

    def work(self) -> None:
        self.done.set()


def test_whoever_tells_of_work_waits_for_nobody_who_does_so_too() -> None:  # P4
    """One has the pool's lock, and the other wants it, where a finaliser gives a connection back in the middle of it."""
    ticker, first, second = Ticker(), Pool(), Pool()
    inside, goes = threading.Event(), threading.Event()

    class Moment(float):
        def __lt__(self, other: float) -> bool:
            inside.set()
            goes.wait(20)
            return super().__lt__(other)

    ticker.at(monotonic() + 1.0, first.work)
    telling = threading.Thread(target=ticker.at, args=[Moment(monotonic()), first.work], daemon=True)
    telling.start()
    assert inside.wait(10)
    another = threading.Thread(target=ticker.at, args=[monotonic(), second.work], daemon=True)
    another.start()
    another.join(5)
    waited = another.is_alive()
    goes.set()
    assert not waited
    assert first.done.wait(10)
    assert second.done.wait(10)


def test_what_is_told_last_and_due_first_is_done_first() -> None:
    ticker, late, early = Ticker(), Pool(), Pool()
    ticker.at(monotonic() + 60, late.work)
    ticker.at(monotonic() + 0.01, early.work)
    assert early.done.wait(10)
    assert not late.done.is_set()
