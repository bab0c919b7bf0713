"""The pools of a process through OpenTelemetry's own SDK: what it collects is what the pools say."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import PackageNotFoundError
from typing import Any

import pytest
from django.core import checks
from django.db import connection
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from poolmgr.conf import conf
from poolmgr.exceptions import ConfigurationError, PoolExhausted
from poolmgr.exporters import opentelemetry, requirement
from poolmgr.exporters.opentelemetry import Telemetry
from poolmgr.metrics.histogram import BOUNDS
from poolmgr.metrics.snapshot import PoolSnapshot
from poolmgr.pools import registry, waits
from poolmgr.targets.postgresql.asyncio.pool import AsyncPool
from tests import pools
from tests.collecting import PREFIX, STATE, Collector
from tests.forking import Child
from tests.waiting import until

from .console import own_fleet, own_pool

pytestmark = pytest.mark.django_db(transaction=True)
#: The conventions' nine: what each is, and its unit.
CONVENTIONS = {
    "count": ("Sum", "{connection}"),
    "idle.max": ("Sum", "{connection}"),
    "idle.min": ("Sum", "{connection}"),
    "max": ("Sum", "{connection}"),
    "pending_requests": ("Sum", "{request}"),
    "timeouts": ("Sum", "{timeout}"),
    "create_time": ("Histogram", "s"),
    "wait_time": ("Histogram", "s"),
    "use_time": ("Histogram", "s"),
}


@pytest.fixture(autouse=True)
def _fleet(settings: Any, redis_server: Any) -> None:
    own_fleet(settings, redis_server)
    # What other tests have counted is none of these' affair.
    registry.close("default")
    connection.close()


@pytest.fixture
def collector(settings: Any) -> Iterator[Collector]:
    settings.POOLMGR = {**settings.POOLMGR, "ROLE": "command"}
    made = Collector("default")
    yield made
    made.close()


def test_the_conventions_nine_are_there_with_their_instruments_and_units_and_are_the_pool_s(
    collector: Collector,
) -> None:
    with own_pool().connection():
        pass
    with own_pool().connection():
        pool = own_pool().snapshot()
        found = collector.metrics()
    for name, (kind, unit) in CONVENTIONS.items():
        assert (type(found[name].data).__name__, found[name].unit) == (kind, unit), name
        if kind == "Sum":
            assert found[name].data.is_monotonic == (name == "timeouts"), name
    for state, number in (("idle", pool.idle), ("used", 1)):
        assert collector.value(found, "count", **{STATE: state}) == number
    assert collector.value(found, "idle.min") == pool.min_size
    assert collector.value(found, "idle.max") == collector.value(found, "max") == pool.limit
    assert collector.value(found, "pending_requests") == collector.value(found, "timeouts") == 0
    _assert_same_times(collector, found, pool)
    # Ours beside them, by the names that Prometheus' page has.
    assert collector.value(found, "checkouts") == pool.checkouts >= 2
    assert collector.value(found, "created") == pool.created >= 1
    assert collector.value(found, "oldest_wait") == 0


def _assert_same_times(collector: Collector, found: dict[str, Any], pool: PoolSnapshot) -> None:
    """Every bucket and the sum, to the microsecond that a total has."""
    for name in ("wait_time", "use_time", "create_time"):
        [point] = collector.points(found, name)
        told = getattr(pool, name)
        assert tuple(point.explicit_bounds) == BOUNDS
        assert tuple(point.bucket_counts) == told.counts, name
        assert point.sum == pytest.approx(told.total, abs=2e-6), name


def test_what_is_gained_between_two_collections_is_added_once(collector: Collector) -> None:
    for _ in range(3):
        with own_pool().connection():
            pass
        found = collector.metrics()
    until(lambda: not own_pool().snapshot().opening, "what opens to have opened")
    again = collector.metrics()
    pool = own_pool().snapshot()
    assert collector.value(found, "checkouts") == collector.value(again, "checkouts") == pool.checkouts
    _assert_same_times(collector, again, pool)


def test_one_look_serves_all_instruments_of_a_collection(collector: Collector, monkeypatch: pytest.MonkeyPatch) -> None:
    with own_pool().connection():
        pass
    looks = []
    take = Telemetry._take
    monkeypatch.setattr(Telemetry, "_take", lambda self: looks.append(1) or take(self))
    collector.metrics()
    assert len(looks) == 1
    collector.metrics()
    assert len(looks) == 2


def test_a_closed_pool_is_told_no_more_and_the_next_one_goes_on_counting(collector: Collector) -> None:
    with own_pool().connection():
        pass
    before = collector.value(collector.metrics(), "checkouts")
    with own_pool().connection():
        pass
    registry.close("default")
    closed = collector.metrics()
    for name in ("count", "max", "pending_requests", "checkouts", "timeouts"):
        assert not [*collector.points(closed, name)], name
        assert not [*collector.points(closed, name, **{STATE: "used"})], name
    with own_pool().connection():
        pass
    assert collector.value(collector.metrics(), "checkouts") == before + 2


@pytest.mark.long
def test_a_forked_child_tells_what_it_did_itself_and_the_parent_nothing_of_that(collector: Collector) -> None:  # P3
    def use_and_tell(times: int) -> list[int]:
        for _ in range(times):
            with own_pool().connection():
                pass
        connection.close()
        found = collector.metrics()
        [use] = collector.points(found, "use_time")
        return [collector.value(found, "checkouts"), use.count, own_pool().snapshot().checkouts]

    with own_pool().connection():
        pass
    child = Child(lambda: use_and_tell(3))
    assert child.answer() == [3, 3, 3]
    assert use_and_tell(1) == [2, 2, 2]


# -- events --------------------------------------------------------------------------------------------------------------


class Traced:
    def __init__(self) -> None:
        self.exporter = InMemorySpanExporter()
        provider = TracerProvider(shutdown_on_exit=False)
        provider.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.tracer = provider.get_tracer("the site")

    def events(self) -> list[Any]:
        """Of the one span that has ended."""
        [span] = self.exporter.get_finished_spans()
        self.exporter.clear()
        return [*span.events]


@pytest.fixture
def traced(monkeypatch: pytest.MonkeyPatch) -> Traced:
    monkeypatch.setattr(waits, "_listeners", [])
    waits.on_wait(opentelemetry.note)
    return Traced()


@pytest.fixture
def pool(postgres: Any) -> Iterator[Any]:
    made = pools.managed_pool(str(postgres.create_database("telemetry")), target="shop", max_size=1)
    with made.connection():  # which waits for its connect
        pass
    yield made
    made.close()


def test_a_checkout_that_waited_is_one_event_of_its_span_and_an_immediate_one_none(traced: Traced, pool: Any) -> None:
    def request() -> None:
        with traced.tracer.start_as_current_span("request"), pool.connection():
            pass

    request()
    assert traced.events() == []
    held = pool.checkout()
    with ThreadPoolExecutor(1) as threads:
        asked = threads.submit(request)
        until(lambda: pool.snapshot().pending, "the request to wait")
        pool.give_back(held)
        asked.result(10)
    [event] = traced.events()
    assert event.name == "db.client.connection.wait"
    told = dict(event.attributes)
    assert told.pop("db.client.connection.wait_time") > 0
    assert told == {"db.client.connection.pool.name": "shop", "db.client.connection.outcome": "got"}


def test_a_checkout_that_failed_is_an_event_with_its_error_and_without_its_words(
    traced: Traced, pool: Any
) -> None:  # P13
    held = pool.checkout()
    with traced.tracer.start_as_current_span("request", record_exception=False), pytest.raises(PoolExhausted):
        pool.checkout(timeout=0.1)
    pool.give_back(held)
    [event] = traced.events()
    told = dict(event.attributes)
    assert 0.1 <= told.pop("db.client.connection.wait_time") < 5
    assert told == {
        "db.client.connection.pool.name": "shop",
        "db.client.connection.outcome": "failed",
        "error.type": "PoolExhausted",
    }


def test_a_task_that_waited_has_its_event_on_its_own_span(traced: Traced, pool: Any) -> None:
    aio = AsyncPool(lambda: pool)

    async def request(name: str, inside: asyncio.Event, leave: asyncio.Event) -> None:
        with traced.tracer.start_as_current_span(name):
            async with aio.connection():
                inside.set()
                await leave.wait()

    async def main() -> None:
        first, second, leave = asyncio.Event(), asyncio.Event(), asyncio.Event()
        holder = asyncio.create_task(request("holder", first, leave))
        await first.wait()
        waiter = asyncio.create_task(request("waiter", second, leave))
        while not pool.snapshot().pending:
            await asyncio.sleep(0.001)
        leave.set()
        await asyncio.gather(holder, waiter)

    asyncio.run(main())
    told = {span.name: [event.name for event in span.events] for span in traced.exporter.get_finished_spans()}
    assert told == {"holder": [], "waiter": ["db.client.connection.wait"]}


def test_without_a_span_a_wait_is_no_event_and_no_error(traced: Traced, pool: Any) -> None:
    assert not trace.get_current_span().is_recording()
    with pool.connection(), pytest.raises(PoolExhausted):
        pool.checkout(timeout=0.05)
    assert traced.exporter.get_finished_spans() == ()


# -- switching it on -----------------------------------------------------------------------------------------------------

_SITE = """
import json, sys
from django.conf import settings
settings.POOLMGR = {{"AGENT": False, "OPENTELEMETRY": {on}}}
import django
django.setup()
from django.db import connection
with connection.cursor() as cursor:
    cursor.execute("SELECT 1")
connection.close()
told = sorted(name for name in sys.modules if name.partition(".")[0] == "opentelemetry")
if {on}:
    from opentelemetry import metrics
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import InMemoryMetricReader
    reader = InMemoryMetricReader()
    metrics.set_meter_provider(MeterProvider([reader]))  # later than our instruments, as in a server's post_fork
    [of] = reader.get_metrics_data().resource_metrics
    told = [(scope.scope.name, each.name) for scope in of.scope_metrics for each in scope.metrics]
print(json.dumps(told))
"""


def _in_a_site(environment: dict[str, str], on: bool) -> Any:
    done = subprocess.run(
        [sys.executable, "-c", _SITE.format(on=on)], env=environment, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.long
def test_where_it_is_off_nothing_of_opentelemetry_s_is_imported(site_environment: dict[str, str]) -> None:  # P12
    assert _in_a_site(site_environment, on=False) == []


@pytest.mark.long
def test_a_provider_that_the_site_sets_later_has_the_metrics_too(site_environment: dict[str, str]) -> None:
    told = _in_a_site(site_environment, on=True)
    assert {("poolmgr", PREFIX + name) for name in CONVENTIONS} <= {tuple(each) for each in told}


def test_without_the_package_the_system_check_and_the_log_say_what_installs_it(
    settings: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def missing(name: str) -> str:
        raise PackageNotFoundError(name)

    said = "opentelemetry-api is not installed: pip install 'poolmgr[opentelemetry]'"
    monkeypatch.setattr(requirement, "version", missing)
    assert requirement.what_is_missing() == ""
    settings.POOLMGR = {**settings.POOLMGR, "OPENTELEMETRY": True}
    [found] = [each for each in checks.run_checks() if said in each.msg]
    assert (found.id, found.level) == ("poolmgr.E006", checks.ERROR)
    requirement.begin()
    assert said in caplog.text
    monkeypatch.setattr(requirement, "version", lambda name: "1.9.0")
    assert "opentelemetry-api 1.9.0 is too old" in requirement.what_is_missing()


def test_the_setting_is_true_or_false(settings: Any) -> None:
    settings.POOLMGR = {"OPENTELEMETRY": "yes"}
    with pytest.raises(ConfigurationError, match=r"POOLMGR\['OPENTELEMETRY'\] is 'yes', but must be True or False"):
        conf()
