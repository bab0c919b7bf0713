"""The pools of this process through OpenTelemetry's API: its metrics, and its waits as events of the current span.

Whoever collects asks, and is answered from the pools' own figures; nothing is done at a checkout that gets a connection at
once, and no thread is ours. The API has no way to hand over a histogram that is kept elsewhere. So what a pool's histograms
gained since the last look is recorded value by value when somebody collects: how many there were in each bucket and their
sum are right, a single value is known to its bucket.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from threading import Lock
from time import monotonic

from opentelemetry import metrics, trace

from poolmgr.control.tally import Gains, is_summed
from poolmgr.exporters.names import (
    COUNT,
    COUNTERS,
    GAUGES,
    HISTOGRAMS,
    MEANS,
    PINS,
    PREFIX,
    REASON,
    STATE,
    STATES,
    TARGET,
    Gauge,
)
from poolmgr.exporters.owing import Owed
from poolmgr.identity import role
from poolmgr.metrics.histogram import BOUNDS
from poolmgr.metrics.snapshot import PoolSnapshot
from poolmgr.metrics.totals import Sums, Total, added
from poolmgr.pools import registry
from poolmgr.pools.forks import attend, here, on_fork
from poolmgr.pools.waits import Wait, on_wait
from poolmgr.version import __version__

#: The name of an event, and the attributes of it that are not of the conventions.
WAIT, SECONDS, OUTCOME = f"{PREFIX}wait", f"{PREFIX}wait_time", f"{PREFIX}outcome"
#: Seconds for which one look serves the instruments of one collection.
_SAME = 1.0
#: Seconds that a collection takes at most for the values of histograms; what is left comes with the next one.
_LONGEST = 5.0

_Attributes = dict[str, str]
_Seen = Iterator[metrics.Observation]


@dataclass(frozen=True, slots=True)
class _Look:
    """The open pools at one moment, and what this process has counted by target."""

    at: float
    pools: tuple[PoolSnapshot, ...] = ()
    totals: Mapping[str, Sums] = field(default_factory=dict)


class Telemetry:
    """The instruments of one meter. They keep no pool alive, and tell of none that is closed."""

    def __init__(self, meter: metrics.Meter) -> None:
        self._begin()
        on_fork(self._begin)
        self._histograms = {
            each.field: meter.create_histogram(
                PREFIX + each.name, each.unit, each.text, explicit_bucket_boundaries_advisory=BOUNDS
            )
            for each in HISTOGRAMS
        }
        name, unit, text = COUNT
        meter.create_observable_up_down_counter(PREFIX + name, [self._asked(name, _by_state)], unit, text)
        for gauge in GAUGES:
            make = meter.create_observable_up_down_counter if gauge.together is sum else meter.create_observable_gauge
            make(PREFIX + gauge.name, [self._asked(gauge.name, partial(_of_each, gauge))], gauge.unit, gauge.text)
        for each in COUNTERS:
            observe = self._asked(each.name, partial(_counted, each.field))
            meter.create_observable_counter(PREFIX + each.name, [observe], each.unit, each.text)
        name, unit, text = PINS
        meter.create_observable_counter(PREFIX + name, [self._asked(name, _pins)], unit, text)
        for each in MEANS:
            observe = self._asked(each.name, partial(_means, each.field))
            meter.create_observable_gauge(PREFIX + each.name, [observe], each.unit, each.text)

    def _begin(self) -> None:
        """In a forked child too: what the parent has counted is the parent's to tell, and its lock may be held for ever."""
        self._lock = Lock()
        self._gains = Gains()
        self._owed = Owed()
        self._totals: dict[str, Sums] = {}
        self._look = _Look(0.0)
        self._served: set[str] = set()

    def _asked(self, name: str, observe: Callable[[_Look], _Seen]) -> Callable[[object], Iterable[metrics.Observation]]:
        return lambda options: list(observe(self._look_for(name)))

    def _look_for(self, name: str) -> _Look:
        """One look for all instruments of a collection: whoever asks again has begun the next one."""
        if not here:
            attend()
        with self._lock:
            if name in self._served or monotonic() - self._look.at > _SAME:
                self._look = self._take()
                self._served.clear()
            self._served.add(name)
            return self._look

    def _take(self) -> _Look:
        pools = {pool: pool.snapshot() for pool in registry.pools()}
        for target, more in self._gains.look(pools).items():
            self._totals[target] = added((self._totals.get(target, {}), more))
            self._owed.add(Total(target, role(), more))
        self._owed.give(self._record, _LONGEST)
        return _Look(monotonic(), tuple(pools.values()), dict(self._totals))

    def _record(self, name: str, target: str, value: float, number: int) -> None:
        record, attributes = self._histograms[name].record, _attributes(target)
        for _ in range(number):
            record(value, attributes)


def install() -> None:
    """Tell of this process's pools, and of those of its children, through whichever providers the site sets, and when."""
    Telemetry(metrics.get_meter("poolmgr", __version__))
    on_wait(note)


def note(wait: Wait) -> None:
    """A checkout that has waited or failed becomes an event of the span that its thread or task is in."""
    span = trace.get_current_span()
    if span.is_recording():
        failed = {"error.type": wait.error} if wait.error else {}
        outcome = "failed" if failed else "got"
        span.add_event(WAIT, {TARGET: wait.target, SECONDS: wait.seconds, OUTCOME: outcome, **failed})


def _attributes(target: str, **more: str) -> _Attributes:
    return {TARGET: target, "role": role(), **more}


def _by_state(look: _Look) -> _Seen:
    for pool in look.pools:
        for state in STATES:
            yield metrics.Observation(getattr(pool, state), {**_attributes(pool.target), STATE: state})


def _of_each(gauge: Gauge, look: _Look) -> _Seen:
    for pool in look.pools:
        yield metrics.Observation(gauge.read(pool), _attributes(pool.target))


def _totals(look: _Look) -> Iterator[Total]:
    """Of targets whose pool is open: what was counted before goes on in the next one."""
    for pool in look.pools:
        if is_summed(pool):
            yield Total(pool.target, role(), look.totals.get(pool.target, {}))


def _counted(field: str, look: _Look) -> _Seen:
    for total in _totals(look):
        yield metrics.Observation(total.count(field), _attributes(total.target))


def _pins(look: _Look) -> _Seen:
    for total in _totals(look):
        for reason, number in total.pins.items():
            yield metrics.Observation(number, {**_attributes(total.target), REASON: reason})


def _means(field: str, look: _Look) -> _Seen:
    for pool in look.pools:
        if field in pool.recent_means:
            yield metrics.Observation(pool.recent_means[field], _attributes(pool.target))
