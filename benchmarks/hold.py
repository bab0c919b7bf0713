"""Requests that are elsewhere most of their time: a query, a wait for somebody else's answer, another query."""

from __future__ import annotations

from threading import Barrier, Thread
from time import perf_counter, sleep
from typing import Any

from benchmarks.contenders import (
    BOUNCER,
    NATIVE_POOL,
    PERSISTENT,
    PSYCOPG_POOL,
    QUEUE_BACKEND,
    REAL_POOL,
    SESSION,
    TRANSACTION,
    Contender,
)
from benchmarks.report import Measurement, Target, in_rounds, median, percentile

QUERY = "SELECT 1"


def measure(world: Any) -> Measurement:
    crowd = [PERSISTENT, NATIVE_POOL, QUEUE_BACKEND, REAL_POOL, BOUNCER, PSYCOPG_POOL, SESSION, TRANSACTION]
    small = _Setting(threads=64, elsewhere=0.2, size=8, requests=2 if world.quick else 5)
    # Those that hold a connection all the time would need a minute and a half for each request here.
    thrifty = [PERSISTENT, REAL_POOL, BOUNCER, PSYCOPG_POOL, TRANSACTION]
    large = _Setting(threads=500, elsewhere=2.0, size=10, requests=1 if world.quick else 3)
    report = Measurement(
        "Requests that are elsewhere most of their time",
        "Each thread: one query, some time elsewhere, one query, the end of the request; again and again. The ideal is a"
        " connection for each thread, opened beforehand. Throughput in requests a second; *of the ideal* is the median of"
        " the rounds' ratios. The bare psycopg_pool is used as by hand: a checkout for each query.",
        ["", "throughput", "of the ideal", "p50 s", "p99 s", "p99 / ideal's"],
    )
    for setting, contenders, rounds in (
        (small, crowd, 1 if world.quick else 3),
        (large, thrifty, 1 if world.quick else 3),
    ):
        _add(report, setting, *_run(world, setting, contenders, rounds))
    return report


class _Setting:
    def __init__(self, threads: int, elsewhere: float, size: int, requests: int) -> None:
        self.threads, self.elsewhere, self.size, self.requests = threads, elsewhere, size, requests

    def __str__(self) -> str:
        return f"{self.threads} threads, {self.elsewhere:g} s elsewhere, {self.size} connections"


def _run(world: Any, setting: _Setting, contenders: list[Contender], rounds: int) -> tuple[Any, Any]:
    contenders = world.only_here(contenders)
    found = in_rounds(contenders, rounds, lambda each: _one_round(world, setting, each))
    return contenders, found


def _one_round(world: Any, setting: _Setting, contender: Contender) -> tuple[float, list[float]]:
    """Requests a second, and how long each took."""
    contender.open(world.url_for(contender, setting.size), setting.size, setting.size)
    ready, taken = Barrier(setting.threads + 1), list[float]()

    def visit() -> None:
        # Every connection is there before the clock starts: its own, or the pool's.
        contender.query(QUERY)
        contender.end()
        ready.wait()
        for _ in range(setting.requests):
            began = perf_counter()
            contender.query(QUERY)
            sleep(setting.elsewhere)
            contender.query(QUERY)
            contender.end()
            taken.append(perf_counter() - began)
        contender.leave()

    threads = [Thread(target=visit) for _ in range(setting.threads)]
    for thread in threads:
        thread.start()
    ready.wait()
    began = perf_counter()
    for thread in threads:
        thread.join()
    seconds = perf_counter() - began
    contender.close()
    return len(taken) / seconds, taken


def _add(report: Measurement, setting: _Setting, contenders: list[Contender], found: list[Any]) -> None:
    ideal = found[contenders.index(PERSISTENT)]
    report.rows.append([f"*{setting}*"] + [""] * (len(report.columns) - 1))
    for contender, rounds in zip(contenders, found, strict=True):
        share = median(mine[0] / best[0] for mine, best in zip(rounds, ideal, strict=True))
        p99 = median(percentile(taken, 99) for _, taken in rounds)
        slower = median(
            percentile(mine[1], 99) / percentile(best[1], 99) for mine, best in zip(rounds, ideal, strict=True)
        )
        p50 = median(percentile(taken, 50) for _, taken in rounds)
        report.rows.append([contender.label, median(rate for rate, _ in rounds), share, p50, p99, slower])
        if contender is TRANSACTION:
            least = 0.95 if setting.size == 8 else 0.9
            report.targets.append(
                Target(f"transaction mode, {setting}: throughput, of the ideal", share, least, at_least=True)
            )
            if setting.size == 8:
                report.targets.append(Target(f"transaction mode, {setting}: p99, of the ideal's", slower, 1.3))
