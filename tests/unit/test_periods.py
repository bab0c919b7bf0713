"""Figures of a stretch of time: put together, they are those of the whole stretch, whatever it was cut into."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from poolmgr.control.watching.counting import Before, Taken, counted
from poolmgr.metrics.histogram import BOUNDS, Distribution, Histogram
from poolmgr.metrics.packing import LONGEST, packed, unpacked
from poolmgr.metrics.periods import Period, Slots, by_window, in_a_row, side_by_side
from poolmgr.metrics.tiers import POINTS, RANGES, fit, tiers
from poolmgr.metrics.totals import Total, added

TIMES = st.lists(st.floats(1e-6, 500.0), max_size=20)


def of(*values: float) -> Distribution:
    times = Histogram()
    for value in values:
        times.add(value)
    return times.freeze()


@given(TIMES)
def test_a_distribution_comes_back_from_its_text_as_it_was(values: list[float]) -> None:
    times = of(*values)
    again = unpacked(packed(times))
    assert again.counts == times.counts
    assert again.total == pytest.approx(times.total, abs=1e-6)


def test_the_longest_text_fits_its_column() -> None:
    times = Distribution((2**62,) * (len(BOUNDS) + 1), 2.0**43)
    assert len(packed(times)) <= LONGEST
    assert unpacked(packed(times)).counts == times.counts


@pytest.mark.parametrize("text", ["", "x", "=", "0.001=-1", "0.001=1e3", "7=5", "0.001=9" + "9" * 30, "us=", "0.001=٣"])
def test_what_somebody_else_has_written_is_left_out(text: str) -> None:
    assert unpacked(text) == Distribution()
    assert unpacked(f"{text} 0.001=3 us=10").count == 3


@given(st.lists(TIMES, min_size=1, max_size=12), st.sampled_from([0.5, 0.95, 0.99]))
def test_a_quantile_of_a_longer_stretch_is_that_of_all_its_values(parts: list[list[float]], q: float) -> None:
    periods = [Period(10.0 * n, 10.0, looks=1, seconds=10.0, wait=of(*values)) for n, values in enumerate(parts)]
    whole = of(*(value for values in parts for value in values))
    once = in_a_row(0.0, 120.0, periods)
    halves = [in_a_row(0.0, 60.0, periods[:6]), *([in_a_row(60.0, 60.0, periods[6:])] if periods[6:] else [])]
    twice = in_a_row(0.0, 120.0, halves)
    assert once.wait.quantile(q) == twice.wait.quantile(q) == whole.quantile(q)


def test_gauges_are_means_and_the_most_and_the_last() -> None:
    first = Period(0.0, 10.0, looks=1, used=2, used_most=9, pending_most=1, capacity=10, processes=2, checkouts=3)
    second = Period(10.0, 10.0, looks=3, used=6, used_most=7, pending_most=4, capacity=12, processes=3, checkouts=4)
    both = in_a_row(
        0.0, 60.0, [replace(first, seconds=10.0, slots=Slots(50, 100)), replace(second, slots=Slots(40, 100))]
    )
    assert (both.looks, both.used, both.used_most, both.pending_most) == (4, 5.0, 9, 4)
    assert (both.capacity, both.processes, both.checkouts) == (12, 3, 7)
    assert both.slots == Slots(50, 100)
    # What one of them could not read is not of the time that was counted.
    assert both.seconds == 10.0


def test_roles_stand_side_by_side_and_windows_have_gaps() -> None:
    web, worker = Period(0.0, 10.0, looks=1, used=3, timeouts=1), Period(0.0, 10.0, looks=1, used=1, timeouts=2)
    assert (side_by_side([web, worker]).used, side_by_side([web, worker]).timeouts) == (4, 3)
    later = replace(web, at=130.0)
    found = by_window([("web", web), ("worker", worker), ("web", later)], 60.0)
    assert [(each.at, each.used) for each in found] == [(0.0, 4), (120.0, 3)]


# -- what was counted between two readings -----------------------------------------------------------------------------


def gain(now: dict[str, int], before: Before, memory: str = "m") -> dict[str, int] | None:
    found = counted([Total("t", "web", now)], before, memory, 70.0).get(("t", "web"))
    return None if found is None else dict(found.gain.sums)


def after(sums: dict[str, int]) -> Before:
    return Before(60.0, 60.0, "m", {("t", "web"): Taken(60.0, sums)})


FIELDS = st.dictionaries(st.sampled_from(["checkouts", "timeouts", "wait_time:0.001"]), st.integers(1, 1000))


@given(st.lists(FIELDS, min_size=1, max_size=10))
def test_what_is_counted_adds_up_to_the_total(steps: list[dict[str, int]]) -> None:
    total: dict[str, int] = {}
    before = Before(60.0, 60.0, "m", {})
    parts = []
    for step in steps:
        total = added([total, step])
        parts.append(gain(total, before) or {})
        before = after(total)
    assert added(parts) == total


def test_before_the_first_reading_nobody_knows_since_when_it_counts() -> None:
    assert gain({"checkouts": 5}, Before()) is None
    assert gain({"checkouts": 5}, Before(60.0)) is None
    # One that is new since has begun at zero.
    assert gain({"checkouts": 5}, Before(60.0, 60.0, "m", {})) == {"checkouts": 5}


def test_a_store_that_lost_its_memory_begins_at_zero() -> None:
    assert gain({"checkouts": 2}, after({"checkouts": 100, "timeouts": 1}), memory="another") == {"checkouts": 2}


def test_an_older_copy_of_a_store_s_memory_is_counted_by_nobody_again() -> None:
    assert gain({"checkouts": 90}, after({"checkouts": 100})) is None
    # Rows are never another memory than the samples that lie beside them.
    assert gain({"checkouts": 90}, after({"checkouts": 100}), memory="") is None
    assert gain({"checkouts": 95}, after({"checkouts": 90})) == {"checkouts": 5}


# -- how finely ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("interval", [1.0, 10.0, 60.0])
@pytest.mark.parametrize("length", RANGES.values(), ids=RANGES)
def test_a_chart_has_as_many_points_as_a_screen_can_show(interval: float, length: float) -> None:
    found = tiers(interval, 30 * 86_400.0)
    tier = fit(found, length, length)
    assert length / tier.step <= POINTS
    assert length <= tier.keep


def test_rows_of_a_target_and_role_are_bounded() -> None:
    assert sum(tier.keep / tier.step for tier in tiers(10.0, 30 * 86_400.0)) == 9000
