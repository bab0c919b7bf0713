"""What OpenTelemetry is told of targets of every kind is what their pools say."""

from collections.abc import Callable, Iterator
from math import inf
from typing import Any

import pytest

from poolmgr.conf import Declared
from poolmgr.pools import registry
from poolmgr.targets.pgbouncer.pool import BouncerPool
from tests.bouncer import Bouncer
from tests.collecting import STATE, Collector
from tests.kinds.conftest import TARGETS
from tests.kinds.subjects import Subject
from tests.kinds.target_subjects import TARGET
from tests.waiting import until

pytestmark = pytest.mark.long


@pytest.fixture
def collector(request: pytest.FixtureRequest) -> Iterator[Collector]:
    made = Collector(getattr(request, "param", TARGET))
    yield made
    made.close()


@pytest.mark.parametrize("subject", TARGETS, indirect=True)
def test_a_target_s_figures_are_its_pool_s(subject: Subject, collector: Collector) -> None:
    subject = subject.open(max_size=3)
    with subject.borrowed(), subject.borrowed():
        found, pool = collector.metrics(), subject.pool.snapshot()
        assert collector.value(found, "count", **{STATE: "used"}) == pool.used == 2
        assert collector.value(found, "max") == pool.limit
    found, pool = collector.metrics(), subject.pool.snapshot()
    assert collector.value(found, "checkouts") == pool.checkouts >= 2
    assert collector.value(found, "created") == pool.created >= 2
    for name in ("wait_time", "use_time", "create_time"):
        [point] = collector.points(found, name)
        assert tuple(point.bucket_counts) == getattr(pool, name).counts, name


@pytest.mark.parametrize("collector", ["bouncer"], indirect=True)
def test_a_pgbouncer_s_pools_are_told_by_who_leads_without_what_it_does_not_count(
    make_bouncer: Callable[..., Bouncer], no_agent: None, collector: Collector
) -> None:
    bouncer = make_bouncer()
    declared = Declared("bouncer", "pgbouncer", bouncer.console_url(), {}, {"DATABASES": list(bouncer.databases)})
    pool: Any = registry.get_or_make("bouncer", lambda: BouncerPool(declared))
    try:
        pool.lead(inf)
        until(lambda: all(each.picture for each in pool.instances), "a first look at the console")
        found, seen = collector.metrics(), pool.snapshot()
        assert collector.value(found, "max") == seen.limit > 0
        assert collector.value(found, "idle.min") == seen.min_size
        for name in ("checkouts", "timeouts", "wait_time"):
            assert not [*collector.points(found, name)], name
        for name, mean in seen.recent_means.items():
            assert collector.value(found, f"{name}_time_mean") == pytest.approx(mean, rel=0.5)
    finally:
        registry.close("bouncer")
