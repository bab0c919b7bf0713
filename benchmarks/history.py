"""What history costs: the room that its rows take, and what it takes to make the samples of a large fleet."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from time import process_time, time
from typing import Any

from django.conf import settings
from django.db import connection
from django.test import override_settings

from benchmarks.report import Measurement, median
from benchmarks.watching import TARGETS, fleet
from poolmgr.control.access import control_database
from poolmgr.control.store.redis import RedisStore
from poolmgr.control.watching import sampling
from poolmgr.control.watching.sampling import Sampler
from poolmgr.metrics.histogram import BOUNDS, Distribution
from poolmgr.metrics.packing import packed
from poolmgr.metrics.tiers import tiers
from poolmgr.models import Sample, SampleClock, SampledTotal
from poolsite.demo.servers import EmbeddedRedis

#: Of a target and role, as they are kept by default.
ROWS = int(sum(each.keep / each.step for each in tiers(10.0, 30 * 86_400.0)))


def measure(world: Any) -> Measurement:
    report = Measurement(
        "What history costs",
        f"Rows of one target and role, all {ROWS:,} that are kept at most, with their index, after VACUUM FULL; and the"
        f" processor's time for the samples of one interval, of a simulated fleet in Redis with {len(TARGETS)} targets.",
        ["what", "rows", "bytes a row", "ms"],
    )
    for called, is_busy in (("at rest", False), ("every bucket of every histogram full", True)):
        report.rows.append([called, ROWS, _bytes(is_busy) / ROWS, None])
    with EmbeddedRedis(world.directory / "sampled") as server, override_settings(**_given(server.url())):
        store = RedisStore(server.url())
        for number in (20,) if world.quick else (200, 1000):
            for beat in fleet(world.url, number):
                store.beat(beat)
            made, taken = _samples(3 if world.quick else 7)
            report.rows.append([f"the samples of an interval, {number} processes", made, None, taken])
        store.close()
    _forget()
    return report


def _given(redis: str) -> dict[str, Any]:
    return {"POOLMGR": {**settings.POOLMGR, "REDIS_URL": redis, "PROCESS_TTL": 600.0, "AGENT": False}}


def _forget() -> None:
    for model in (Sample, SampleClock, SampledTotal):
        model.objects.all().delete()


def _bytes(is_busy: bool) -> float:
    _forget()
    luck, began = random.Random(3), datetime.now(UTC) - timedelta(days=30)
    Sample.objects.bulk_create((_row(began + timedelta(seconds=10 * n), luck, is_busy) for n in range(ROWS)), 500)
    table = connection.ops.quote_name(Sample._meta.db_table)
    with connection.cursor() as cursor:
        cursor.execute(f"VACUUM FULL {table}")
        cursor.execute(f"SELECT pg_total_relation_size('{table}')")
        return float(cursor.fetchone()[0])


def _row(at: datetime, luck: random.Random, is_busy: bool) -> Sample:
    row = Sample(
        tier=0, at=at, target="default", role="web", looks=10, used=0.0, idle=2.0, pending=0.0, used_most=0, pending_most=0,
        full=0, capacity=20, processes=2, seconds=10.0, server_used=12, server_most=97, server_ours=4,
    )  # fmt: skip
    if is_busy:
        row.used, row.idle, row.pending = luck.random() * 20, luck.random() * 4, luck.random() * 3
        row.checkouts = luck.randrange(10**6)
        row.wait, row.use, row.create = _times(luck), _times(luck), _times(luck)
    return row


def _times(luck: random.Random) -> str:
    return packed(Distribution(tuple(luck.randrange(1, 10**5) for _ in range(len(BOUNDS) + 1)), luck.random() * 1e4))


def _samples(rounds: int) -> tuple[int, float]:
    """How many rows an interval's samples are, and the processor's milliseconds that they take."""
    _forget()
    now, taken, made = time(), [], []
    actual = sampling.time
    try:
        with control_database():
            for turn in range(rounds + 1):
                sampling.time = lambda turn=turn: now + 10.0 * turn  # type: ignore[assignment]
                sampler = Sampler()
                began = process_time()
                made.append(sampler.take((), {}))
                taken.append((process_time() - began) * 1e3)
    finally:
        sampling.time = actual
    assert all(made), "nothing was sampled"
    return made[-1], median(taken[1:])
