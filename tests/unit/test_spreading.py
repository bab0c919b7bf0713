"""What a histogram tells, put into single values again."""

import time

import pytest
from hypothesis import given as of
from hypothesis import settings
from hypothesis import strategies as st

from poolmgr.exporters.owing import Owed
from poolmgr.exporters.spreading import spread
from poolmgr.metrics.histogram import Distribution, Histogram
from poolmgr.metrics.totals import Total


def filled(values: list[float]) -> Distribution:
    histogram = Histogram()
    for value in values:
        histogram.add(value)
    return histogram.freeze()


@settings(deadline=None)
@of(st.lists(st.one_of(st.floats(0, 0.01), st.floats(0, 500), st.sampled_from([1e-5, 0.005, 1.0, 200.0]))))
def test_as_many_values_in_each_bucket_and_the_same_sum(values: list[float]) -> None:
    seen = filled(values)
    again = filled([value for value, number in spread(seen) for _ in range(number)])
    assert again.counts == seen.counts
    assert abs(again.total - seen.total) <= 1e-9 + 1e-9 * seen.total


def test_what_there_was_no_time_for_is_given_the_next_time() -> None:
    gained = filled([0.004] * 120 + [1.5] * 3)
    sums = {"wait_time:0.005": 120, "wait_time:2": 3, "wait_time:us": round(gained.total * 1e6)}
    owed, given = Owed(), list[float]()

    def give(name: str, target: str, value: float, number: int) -> None:
        assert (name, target, number <= 50) == ("wait_time", "shop", True)
        given.extend([value] * number)

    owed.add(Total("shop", "web", sums))
    owed.give(give, 0.0)
    assert given == []
    calls = 0

    def slowly(name: str, target: str, value: float, number: int) -> None:
        nonlocal calls
        calls += 1
        give(name, target, value, number)
        time.sleep(0.02)

    owed.give(slowly, 0.01)
    assert calls == 1
    assert len(given) == 50
    owed.add(Total("shop", "web", sums))
    owed.give(give, 5.0)
    assert filled(given).counts == (gained + gained).counts
    assert sum(given) == pytest.approx(2 * gained.total, abs=3e-6)
    owed.give(give, 5.0)
    assert len(given) == 246


def test_a_sum_that_no_values_can_have_moves_none_to_another_bucket() -> None:
    for total in (0.0, 1e6):
        seen = Distribution((0, 3, *[0] * 21, 1), total)
        assert filled([value for value, number in spread(seen) for _ in range(number)]).counts == seen.counts
