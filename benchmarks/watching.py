"""What it costs to look at a large fleet: the console's pages, and the page that Prometheus reads."""

from __future__ import annotations

import random
from collections.abc import Iterator
from time import perf_counter, time
from typing import Any

from django.conf import settings
from django.contrib.auth.models import User
from django.test import Client, override_settings
from msgspec.structs import replace

from benchmarks.report import Measurement, Target, median
from poolmgr.control.reporting.beats import read_beats
from poolmgr.control.store.redis import RedisStore
from poolmgr.dashboard.reading import shared
from poolmgr.metrics.slots import encoded
from poolmgr.metrics.snapshot import Holder, PoolSnapshot, ProcessBeat
from poolsite.demo.servers import EmbeddedRedis
from tests.pools import managed_pool

TARGETS = ("default", "replica", "search", "billing", "audit")
SIZE = 10
OVERVIEW, SCRAPE = "/pools/fragment/", "/pools/metrics"
PAGES = {OVERVIEW: "overview", "/pools/targets/default/?part=figures": "a target's page", SCRAPE: "/pools/metrics"}
#: Most milliseconds and kilobytes of a page, by the number of processes.
LIMITS = {200: {OVERVIEW: (150.0, 100.0), SCRAPE: (150.0, 600.0)}, 1000: {OVERVIEW: (500.0, 150.0)}}


def measure(world: Any) -> Measurement:
    rounds = 5 if world.quick else 15
    report = Measurement(
        "What it costs to look at a large fleet",
        f"A request through Django's handler, on a fleet in Redis of simulated processes with {len(TARGETS)} pools of {SIZE}"
        f" each, whose figures are a real pool's with some luck; nothing shared with an earlier one; median of {rounds}.",
        ["processes", "page", "ms", "kB"],
    )
    with EmbeddedRedis(world.directory / "watched") as server, override_settings(**_given(server.url())):
        shared.SECONDS = 0.0
        client = Client()
        client.force_login(User.objects.create_superuser("watcher"))
        store = RedisStore(server.url())
        for number in (20, 100) if world.quick else (200, 1000):
            for beat in fleet(world.url, number):
                store.beat(beat)
            assert len(read_beats().processes) >= number, "the pages would show less"
            for path, called in PAGES.items():
                taken, size = _looks(client, path, rounds)
                report.rows.append([number, called, taken, size])
                for limit, unit, found in zip(
                    LIMITS.get(number, {}).get(path, ()), (" ms", " kB"), (taken, size), strict=False
                ):
                    report.targets.append(Target(f"{called}, {number} processes", found, limit, unit=unit))
        store.close()
    return report


def _given(redis: str) -> dict[str, Any]:
    poolmgr = {**settings.POOLMGR, "REDIS_URL": redis, "PROCESS_TTL": 600.0, "AGENT": False}
    return {"POOLMGR": poolmgr, "ALLOWED_HOSTS": ["testserver"]}


def _looks(client: Client, path: str, rounds: int) -> tuple[float, float]:
    """Milliseconds and kilobytes of the page."""
    taken, size = [], 0.0
    for _ in range(rounds + 1):
        began = perf_counter()
        answer = client.get(path)
        taken.append((perf_counter() - began) * 1e3)
        assert answer.status_code == 200, (path, answer.status_code)
        size = len(answer.content) / 1000
    return median(taken[1:]), size  # the first loads templates


def fleet(url: str, number: int) -> Iterator[ProcessBeat]:
    luck, now = random.Random(6), time()
    pool = managed_pool(url, target=TARGETS[0], min_size=1, max_size=SIZE)
    try:
        with pool.connection():
            real = pool.snapshot()
    finally:
        pool.close()
    for each in range(number):
        pools = tuple(_pool(real, target, luck) for target in TARGETS)
        place = f"app-{each // 8}.example.org"
        yield ProcessBeat(
            f"watched-{each:05}", place, 1000 + each, "web", now - 3600, now, name="gunicorn", pools=pools
        )


def _pool(real: PoolSnapshot, target: str, luck: random.Random) -> PoolSnapshot:
    used = luck.randrange(SIZE)
    held = sorted((luck.random() * 20 for _ in range(used)), reverse=True)
    holders = tuple(
        Holder(f"thread-{n}", seconds, 1000 + n, label="GET /reports/", state="running", checkout=f"{n + 1}.1")
        for n, seconds in enumerate(held)
    )
    slots = encoded((seconds, "running") for seconds in held)
    return replace(
        real, target=target, used=used, idle=min(2, SIZE - used), holders=holders, slots=slots,
        oldest_checkout=held[0] if held else 0.0, backend_pids=tuple(range(1000, 1000 + used)),
    )  # fmt: skip
