"""What a checkout costs while OpenTelemetry collects, beside one that nobody watches and one that is recorded by itself."""

from __future__ import annotations

from contextlib import suppress
from time import perf_counter
from typing import Any

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from benchmarks.report import Measurement, Target, in_rounds, median
from poolmgr.exporters.opentelemetry import Telemetry, note
from poolmgr.pools import registry, waits
from tests.pools import managed_pool

SIZE, TARGET = 4, "telemetry"
#: A checkout and a return: two of the histograms' values.
VALUES = 2


class Way:
    """``collects`` after each round, and ``records`` each wait and use where it happens, as an instrumentation would."""

    def __init__(self, label: str, listens: bool = False, collects: bool = False, records: bool = False) -> None:
        self.label, self.listens, self.collects, self.records = label, listens, collects, records


OFF = Way("off")
ON = Way("**on**, what the checkout pays", listens=True)
COLLECTED = Way("**on**, its part of the collection included", listens=True, collects=True)
RECORDED = Way("recorded at each checkout and return", records=True)


def measure(world: Any) -> Measurement:
    ways = [OFF, ON, COLLECTED, RECORDED]
    times, rounds = 2000, 20 if world.quick else 150
    pool: Any = registry.get_or_make(
        TARGET, lambda: managed_pool(world.url, target=TARGET, min_size=SIZE, max_size=SIZE)
    )
    reader = InMemoryMetricReader()
    provider = MeterProvider([reader], shutdown_on_exit=False)
    meter = provider.get_meter("poolmgr")
    Telemetry(meter)
    histogram = meter.create_histogram("recorded", "s")
    attributes = {"db.client.connection.pool.name": TARGET}
    with pool.connection():
        reader.get_metrics_data()

    def one_round(way: Way) -> float:
        if way.listens:
            waits.on_wait(note)
        began = perf_counter()
        if way.records:
            _recorded(pool, times, lambda seconds: histogram.record(seconds, attributes))
        else:
            _plain(pool, times)
        if way.collects:
            reader.get_metrics_data()
        taken = perf_counter() - began
        with suppress(ValueError):
            waits._listeners.remove(note)
        # The values of this round are none of the next one's, whatever that is.
        reader.get_metrics_data()
        return taken / times * 1e6

    found = in_rounds(ways, rounds, one_round)
    registry.close(TARGET)
    provider.shutdown()
    return _report(ways, found, times, rounds)


def _plain(pool: Any, times: int) -> None:
    for _ in range(times):
        pool.give_back(pool.checkout())


def _recorded(pool: Any, times: int, record: Any) -> None:
    for _ in range(times):
        asked = perf_counter()
        conn = pool.checkout()
        got = perf_counter()
        record(got - asked)
        pool.give_back(conn)
        record(perf_counter() - got)


def _report(ways: list[Way], found: list[list[float]], times: int, rounds: int) -> Measurement:
    off = found[0]
    rows = [
        [way.label, median(each), median(each) / median(off), min(each), min(each) / min(off)]
        for way, each in zip(ways, found, strict=True)
    ]
    value, recorded = ((min(each) - min(off)) / VALUES for each in found[2:])
    return Measurement(
        "A checkout with OpenTelemetry on",
        f"Microseconds of a checkout and its return on a bare pool, one thread, nobody waits; medians and minima of {rounds}"
        f" rounds of {times:,}, and what they are of *off*. The collection puts what was counted since the"
        " last one into the SDK's histograms, a value each for every wait and use, in the thread of whoever collects.",
        ["", "median", "of off", "min", "of off"],
        rows,
        [Target("on: a checkout and its return, of off (minima)", min(found[1]) / min(off), 1.05)],
        [
            f"The collection takes {value:.0f} µs for each value of a histogram (minima), of which a checkout makes {VALUES};"
            f" to record one where it happens takes {recorded:.0f} µs of the request's own time."
        ],
    )
