"""Distributions: merging, windows and quantiles."""

import random

import pytest

from poolmgr.metrics.histogram import BOUNDS, Distribution, Histogram, merge


def filled(values: list[float]) -> Distribution:
    histogram = Histogram()
    for value in values:
        histogram.add(value)
    return histogram.freeze()


def test_an_empty_distribution_has_no_quantiles_rather_than_zeros() -> None:
    assert Distribution().quantile(0.5) is None
    assert Distribution().mean is None


def test_quantiles_lie_within_the_bucket_of_the_true_value() -> None:
    chance = random.Random(7)
    values = sorted(chance.lognormvariate(-5, 2) for _ in range(5000))
    made = filled(values)
    for q in (0.5, 0.95, 0.99):
        true, told = values[int(q * len(values)) - 1], made.quantile(q)
        low = max([0.0, *(bound for bound in BOUNDS if bound < true)])
        high = min(bound for bound in (*BOUNDS, float("inf")) if bound >= true)
        assert told is not None
        assert low <= told <= high


def test_what_was_added_counts_once_however_often_and_whenever_it_is_counted() -> None:
    histogram = Histogram()
    for value in (0.3, 0.002, 0.3):
        histogram.add(value)
        histogram.count()
    histogram.add(9.0)
    assert histogram.freeze() == histogram.freeze()
    assert histogram.freeze().counts == filled([0.002, 0.3, 0.3, 9.0]).counts
    assert histogram.freeze().total == pytest.approx(9.602)


def test_adding_is_as_counting_together_and_subtracting_takes_back() -> None:
    first, second = filled([0.001, 0.2]), filled([0.03, 500.0])
    both = merge([first, second])
    assert both.counts == filled([0.001, 0.2, 0.03, 500.0]).counts
    assert (both - second).counts == first.counts
    assert both.count == 4
    assert both.total == pytest.approx(500.231)
