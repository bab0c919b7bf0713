"""What a histogram tells, put into single values again."""

from hypothesis import given, settings
from hypothesis import strategies as st

from poolmgr.exporters.spreading import spread
from poolmgr.metrics.histogram import Distribution, Histogram


def filled(values: list[float]) -> Distribution:
    histogram = Histogram()
    for value in values:
        histogram.add(value)
    return histogram.freeze()


@settings(deadline=None)
@given(st.lists(st.one_of(st.floats(0, 0.01), st.floats(0, 500), st.sampled_from([1e-5, 0.005, 1.0, 200.0]))))
def test_as_many_values_in_each_bucket_and_the_same_sum(values: list[float]) -> None:
    seen = filled(values)
    again = filled([value for value, number in spread(seen) for _ in range(number)])
    assert again.counts == seen.counts
    assert abs(again.total - seen.total) <= 1e-9 + 1e-9 * seen.total


def test_a_sum_that_no_values_can_have_moves_none_to_another_bucket() -> None:
    for total in (0.0, 1e6):
        seen = Distribution((0, 3, *[0] * 21, 1), total)
        assert filled([value for value, number in spread(seen) for _ in range(number)]).counts == seen.counts
