"""A spike, as HikariCP's: 50 requests at once on 5 connections, connects take 150 ms and queries 2 ms.

Whoever opens a connection for each request that waits opens dozens, and all of them come too late.
"""

from __future__ import annotations

from threading import Barrier, Thread
from time import perf_counter, sleep
from typing import Any

from benchmarks.contenders import (
    CONNECT,
    MANAGED,
    NATIVE_POOL,
    PSYCOPG_POOL,
    QUEUE_BACKEND,
    REAL_POOL,
    SESSION,
    SQLALCHEMY,
    TRANSACTION,
    Contender,
)
from benchmarks.report import Measurement, Target, in_rounds, median
from benchmarks.servers import number_of_sessions
from benchmarks.slow_connects import SlowConnects

REQUESTS, LEAST, MOST = 50, 5, 50
CONNECT_SECONDS = 0.15
QUERY = "SELECT 1 FROM pg_sleep(0.002)"


def measure(world: Any) -> Measurement:
    contenders = [
        CONNECT,
        NATIVE_POOL,
        REAL_POOL,
        QUEUE_BACKEND,
        PSYCOPG_POOL,
        SQLALCHEMY,
        MANAGED,
        SESSION,
        TRANSACTION,
    ]
    rounds = 1 if world.quick else 5
    with SlowConnects(world.postgres.port, CONNECT_SECONDS) as proxy:
        found = in_rounds(contenders, rounds, lambda each: _one_round(world, proxy, each))
    report = Measurement(
        "A spike",
        f"{REQUESTS} requests at once, connects take {CONNECT_SECONDS * 1000:.0f} ms and queries 2 ms, pools of {LEAST} to"
        f" {MOST} connections. *Open at the end*: sessions that the server has half a second after the last request."
        f" *Opened*: all connects of the round, the first {LEAST} included. The most of {rounds} rounds; seconds until the"
        " last request is served, median.",
        ["", "open at the end", "opened", "seconds"],
    )
    for contender, got in zip(contenders, found, strict=True):
        at_end, opened = (max(each[which] for each in got) for which in (0, 1))
        report.rows.append([contender.label, at_end, opened, median(each[2] for each in got)])
        if contender in (SESSION, TRANSACTION):
            report.targets.append(Target(f"{contender.label.strip('*')}: connections at the end", at_end, 7))
    return report


def _one_round(world: Any, proxy: SlowConnects, contender: Contender) -> tuple[int, int, float]:
    """Sessions at the end, connections opened, seconds."""
    before = proxy.accepted()
    contender.open(world.url.replace(f":{world.postgres.port}/", f":{proxy.port}/"), LEAST, MOST)
    _fill(contender, before, proxy)
    ready = Barrier(REQUESTS + 1)

    def visit() -> None:
        ready.wait()
        contender.query(QUERY)
        contender.leave()

    threads = [Thread(target=visit) for _ in range(REQUESTS)]
    for thread in threads:
        thread.start()
    ready.wait()
    began = perf_counter()
    for thread in threads:
        thread.join()
    seconds = perf_counter() - began
    # What is still connecting arrives.
    sleep(CONNECT_SECONDS + 0.5)
    at_end, opened = number_of_sessions(world.url, contender.application), proxy.accepted() - before
    contender.close()
    return at_end, opened, seconds


def _fill(contender: Contender, before: int, proxy: SlowConnects) -> None:
    """Bring the pool to the least that it should hold: some connect only when asked."""
    together = Barrier(LEAST)

    def visit() -> None:
        contender.query(QUERY)
        together.wait()
        contender.leave()

    threads = [Thread(target=visit) for _ in range(LEAST)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    sleep(CONNECT_SECONDS + 0.3)
