"""What a thousand processes cost the servers that they share for their control, and each of them."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from datetime import timedelta
from time import perf_counter, process_time
from typing import Any

import redis
from django.db import connection

import poolmgr
from benchmarks.report import Measurement, Target, figure, median, percentile, table
from benchmarks.simulated import Meter, Paced, Simulated, Spent, heard_by_all, paced
from poolmgr.control.sharing.ledger import RowLedger, open_ledger
from poolmgr.control.store.database import DatabaseStore
from poolmgr.metrics.snapshot import ProcessBeat
from poolmgr.models import Lease as LeaseRow
from poolmgr.models import Ledger, PoolProfile, Process
from poolsite.demo.servers import EmbeddedRedis

#: Seconds: POOLMGR's defaults, and a quarter of PROCESS_TTL.
HEARTBEAT, POLL, RENEWAL = 2.0, 5.0, 5.0
#: Of a core, what all of it may take of one process.
OF_A_CORE = 0.5
COLUMNS = [
    *("", "a second", "ms", "p99 ms", "CPU ms", "CPU of one process", "Redis: commands", "kB in", "kB out", "CPU"),
    *("PostgreSQL: CPU", "WAL kB"),
]


def measure(world: Any) -> Measurement:
    number, seconds = (100, 2.0) if world.quick else (1000, 6.0)
    report = Measurement(
        f"What {number:,} processes cost",
        f"{number:,} simulated processes with one pool each, over real connections: {number:,} clients and {number:,}"
        f" subscriptions at one Redis, and the control database. Each line by itself, for {seconds:g} s at the pace of the"
        " default settings. *Milliseconds* and *CPU* of each time; the rest for each second of all processes; CPU in parts of"
        " a core.",
        COLUMNS,
    )
    with ExitStack() as stack:
        _Run(world, stack, number, seconds, report).measure()
    return report


class _Run:
    def __init__(self, world: Any, stack: ExitStack, number: int, seconds: float, report: Measurement) -> None:
        self._seconds, self._report = seconds, report
        self._server = stack.enter_context(EmbeddedRedis(world.directory / "redis"))
        self._redis = redis.Redis.from_url(self._server.url())
        stack.callback(self._redis.close)
        self._meter = Meter(self._redis, world.postgres, world.url)
        stack.callback(self._meter.close)
        stack.callback(_forget)
        _forget()
        self._beat = _a_beat()
        PoolProfile.objects.create(target="default", **poolmgr.pool().spec.to_dict())
        ledger = RowLedger(timedelta(seconds=600))
        self._fleet = [Simulated(each, self._beat, self._server.url(), ledger, 2 * number) for each in range(number)]
        stack.callback(lambda: [each.leave() for each in self._fleet])

    def measure(self) -> None:
        self._cpu: list[float] = []
        idle = self._redis.info()["used_memory"]
        pushed = heard_by_all(self._fleet, self._fleet[-1].store.notify)
        paced(self._fleet, Simulated.beat, 0.0, 0.0)
        # The first leases of a fleet that starts at once.
        claimed = paced(self._fleet, Simulated.claim, 0.0, 0.0)
        self._line(f"heartbeats to Redis, every {HEARTBEAT:g} s", Simulated.beat, HEARTBEAT)
        self._line(f"looks at profiles and commands, every {POLL:g} s", Simulated.turn, POLL)
        self._line(f"renewals of a lease, every {RENEWAL:g} s", Simulated.renew, RENEWAL)
        self._line(f"without Redis: looks with heartbeats in rows, every {POLL:g} s", Simulated.turn_and_beat, POLL)
        with_redis = sum(self._cpu[:3])
        self._report.targets.append(
            Target("CPU of one process for all of it, with Redis", with_redis, OF_A_CORE, unit=" %")
        )
        memory = self._redis.info()["used_memory"] - idle
        looked = paced(self._fleet, Simulated.turn, 0.0, 0.0)
        self._moments(claimed, pushed, looked, memory)

    def _line(self, words: str, act: Callable[[Simulated], None], every: float) -> None:
        before = self._meter()
        found = paced(self._fleet, act, every, self._seconds)
        spent = self._meter() - before
        self._report.rows.append([words, *_cells(found, every, spent)])
        self._cpu.append(100 * median(found.cpu) / every)
        got, wanted = len(found.times) / found.seconds, len(self._fleet) / every
        self._report.targets.append(Target(f"{words}: the pace was kept", got / wanted, 0.95, at_least=True))

    def _moments(self, claimed: Paced, pushed: float, looked: Paced, memory: int) -> None:
        size = len(json.dumps(self._beat.to_dict(), separators=(",", ":")))
        # Those of before have expired.
        paced(self._fleet, Simulated.beat, 0.0, 0.0)
        from_redis, from_rows = _taken(self._fleet[0].store.read), _taken(DatabaseStore().read)
        number = len(self._fleet)
        rows: list[Sequence[Any]] = [
            ["a heartbeat", f"{size:,} bytes"],
            ["Redis' memory for all", f"{memory / 1e6:.1f} MB"],
            ["an edit's push, until the last of them has it", _ms(pushed)],
            ["all look at the profiles at once", _ms(looked.seconds)],
            ["all ask for their first lease at once, as in a deploy", _ms(claimed.seconds)],
            ["reading the whole fleet from Redis: time, CPU", ", ".join(map(_ms, from_redis))],
            ["reading the whole fleet from rows: time, CPU", ", ".join(map(_ms, from_rows))],
        ]
        self._report.notes.append(
            f"Moments of {number:,} processes; what they do at once is done by this one process here, one core's worth.\n\n"
            + table(["", "measured"], rows)
        )


def _cells(found: Paced, every: float, spent: Spent) -> list[Any]:
    each = median(found.cpu)
    return [
        len(found.times) / found.seconds,
        median(found.times) * 1e3,
        percentile(found.times, 99) * 1e3,
        each * 1e3,
        _part(each / every),
        round(spent.redis_commands / found.seconds),
        spent.redis_in / found.seconds / 1e3,
        spent.redis_out / found.seconds / 1e3,
        _part(spent.redis_cpu / found.seconds),
        _part(spent.postgres_cpu / found.seconds),
        spent.wal / found.seconds / 1e3,
    ]


def _part(cores: float) -> str:
    return f"{100 * cores:.2g} %"


def _ms(seconds: float) -> str:
    return f"{figure(1e3 * seconds)} ms"


def _taken(act: Callable[[], object]) -> tuple[float, float]:
    """Seconds by the clock, and of CPU: the least of three."""
    found = []
    for _ in range(3):
        began, used = perf_counter(), process_time()
        act()
        found.append((perf_counter() - began, process_time() - used))
    return min(found)


def _a_beat() -> ProcessBeat:
    """A heartbeat of this process, whose pool has been used."""
    for _ in range(100):
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
        connection.close()
    told = poolmgr.pool().snapshot()
    return ProcessBeat("", "", 0, "web", 0.0, 0.0, name="gunicorn", pools=(told,))


def _forget() -> None:
    for model in (LeaseRow, Ledger, Process):
        model.objects.all().delete()
    PoolProfile.objects.filter(target="default").delete()
    open_ledger()
