"""What an engine of SQLAlchemy's costs on a managed pool. One thread, nobody waits: the shortest way there is."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection
from time import perf_counter
from typing import Any

import sqlalchemy

from benchmarks.report import Measurement, Target, in_rounds, median
from poolmgr.targets.sqlalchemy import create_engine, engine

SIZE = 4
TIMES = 200
OWN, LENT = "poolmgr, a pool of its own", "poolmgr, on Django's pool"
QUEUE, PING = "SQLAlchemy, QueuePool", "SQLAlchemy, QueuePool with pre-ping"
#: How much of a plain QueuePool's time a checkout and a return may take.
LIMIT = 1.15
ONE = sqlalchemy.text("SELECT 1")


def measure(world: Any) -> Measurement:
    rounds = 40 if world.quick else 300
    engines = _engines(world.url.replace("postgresql://", "postgresql+psycopg://"))
    for each in engines.values():
        _query(each)
    found = in_rounds(list(engines.values()), rounds, _one_round)
    for each in engines.values():
        each.dispose()
    return _report(dict(zip(engines, map(summed, found), strict=True)), rounds)


def _engines(url: str) -> dict[str, Any]:
    theirs = {"pool_size": SIZE, "max_overflow": 0}
    return {
        # As in a site: with their liveness checks, their rounds and their figures.
        OWN: create_engine("bench-engine", url, pool={"min_size": 1, "max_size": SIZE}),
        LENT: engine("default"),
        QUEUE: sqlalchemy.create_engine(url, **theirs),
        PING: sqlalchemy.create_engine(url, pool_pre_ping=True, **theirs),
    }


def _one_round(given: Any) -> tuple[float, ...]:
    """Microseconds of pool.connect(), of engine.connect(), of a query, and of one of four threads' queries."""
    pool, times = given.pool, TIMES if not given.pool._pre_ping else TIMES // 10
    checkout = _timed(lambda: pool.connect().close(), times)
    connect = _timed(lambda: given.connect().close(), times)
    return checkout, connect, _timed(lambda: _query(given), TIMES // 20), _shared(given)


def _query(given: Any) -> None:
    with given.connect() as conn:
        conn.execute(ONE)


def _shared(given: Any) -> float:
    times = TIMES // 20
    threads = [threading.Thread(target=lambda: [_query(given) for _ in range(times)]) for _ in range(SIZE)]
    began = perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return (perf_counter() - began) / times / SIZE * 1e6


def _timed(act: Callable[[], Any], times: int) -> float:
    began = perf_counter()
    for _ in range(times):
        act()
    return (perf_counter() - began) / times * 1e6


def summed(times: list[tuple[float, ...]]) -> list[tuple[float, float]]:
    """Median and minimum of each kind."""
    return [(median(values), min(values)) for values in zip(*times, strict=True)]


def table(figures: dict[str, list[tuple[float, float]]], bold: Collection[str]) -> list[list[Any]]:
    """A row for each engine: the median and minimum of each kind."""
    return [
        [f"**{name}**" if name in bold else name, *(cell for pair in got for cell in pair)]
        for name, got in figures.items()
    ]


def targets(figures: dict[str, list[tuple[float, float]]], label: str, ours: str, theirs: str, of: str) -> list[Target]:
    """What ``ours`` may take, of ``theirs``, whose pool is called ``of``."""
    return [
        Target(f"{label}: {what}, of {of}'s ({kind})", figures[ours][which][n] / figures[theirs][which][n], LIMIT)
        for which, what in enumerate(("pool.connect()", "engine.connect()"))
        for n, kind in enumerate(("medians", "minima"))
    ]


def _report(figures: dict[str, list[tuple[float, float]]], rounds: int) -> Measurement:
    return Measurement(
        "What a pool adds to an engine of SQLAlchemy's",
        f"Microseconds, psycopg, a pool of {SIZE}; medians and minima of {rounds} rounds, in which all take turns. *pool* and"
        " *engine*: `connect()` of it and `close()`, with SQLAlchemy's own rollback. *SELECT 1*: the same with a query."
        f" *{SIZE} threads*: one of their queries.",
        ["", "pool", "min", "engine", "min", "SELECT 1", "min", f"{SIZE} threads", "min"],
        table(figures, (OWN, LENT)),
        [each for name in (OWN, LENT) for each in targets(figures, name, name, QUEUE, "QueuePool")],
    )
