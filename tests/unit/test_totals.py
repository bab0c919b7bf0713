"""Sums that are told by what they gained: whatever the order and the number of tellings, the total is the same."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from poolmgr.metrics.histogram import BOUNDS, Distribution, Histogram
from poolmgr.metrics.snapshot import PoolSnapshot
from poolmgr.metrics.totals import COUNTERS, MOST, TIMES, Total, added, believed, gained, sums_of

FIELDS = st.sampled_from(["checkouts", "pins:temporary table", "wait_time:0.005", "wait_time:us", "use_time:inf"])
SUMS = st.dictionaries(FIELDS, st.integers(1, 10**9))


@given(st.lists(SUMS))
def test_gains_add_up_to_what_there_is_in_the_end(steps: list[dict[str, int]]) -> None:
    now: dict[str, int] = {}
    total: dict[str, int] = {}
    for step in steps:
        before, now = now, added((now, step))
        total = added((total, gained(now, before)))
    assert total == now


@given(SUMS, SUMS)
def test_a_total_never_falls(total: dict[str, int], now: dict[str, int]) -> None:
    for pool_made_anew in ({}, now):
        gain = gained(pool_made_anew, total)
        assert all(number > 0 for number in gain.values())
        after = added((total, gain))
        assert all(after[name] >= number for name, number in total.items())


@given(st.lists(st.floats(0, 500)), st.lists(st.floats(0, 500)))
def test_the_times_of_a_total_are_those_of_the_snapshots(first: list[float], second: list[float]) -> None:
    pools = [PoolSnapshot("default", **dict.fromkeys(TIMES, filled(values))) for values in (first, second)]
    total = Total("default", "web", added(map(sums_of, pools)))
    for name in TIMES:
        told, meant = total.times(name), filled(first) + filled(second)
        assert told.counts == meant.counts
        assert abs(told.total - meant.total) <= 2e-6


def filled(values: list[float]) -> Distribution:
    histogram = Histogram()
    for value in values:
        histogram.add(value)
    return histogram.freeze()


def test_every_counter_of_a_snapshot_is_in_the_sums_and_believed() -> None:
    grows: dict[str, Any] = {name: at for at, name in enumerate(COUNTERS, 1)}
    times = dict.fromkeys(TIMES, Distribution((1,) * (len(BOUNDS) + 1), 7.5))
    sums = sums_of(PoolSnapshot("default", pins={"SET": 9}, **grows, **times))
    total = Total("default", "web", believed(dict(sums)))
    assert total.sums == sums
    assert {name: total.count(name) for name in COUNTERS} == grows
    assert total.pins == {"SET": 9}
    assert total.times("use_time") == times["use_time"]


def test_what_no_sum_can_be_is_not_believed() -> None:
    good = {"checkouts": 3, "pins:SET": 1}
    bad = {
        "timeouts": -1,
        "created": True,
        "closed": "3",
        "leaks": 10**40,
        "refused": 1.5,
        "wait_time:0.123": 4,
        "passwords": 1,
        "pins:\n": 1,
        "pins:" + "x" * 500: 1,
        7: 1,
    }
    assert believed(good | bad) == good
    assert believed([good]) == believed(None) == {}
    assert added([{"checkouts": MOST}, {"checkouts": 5}]) == {"checkouts": MOST}
