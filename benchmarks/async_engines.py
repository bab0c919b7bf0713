"""What an asyncio engine of SQLAlchemy's costs on a managed pool. One task, nobody waits: the shortest way there is."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from time import perf_counter
from typing import Any

from sqlalchemy.ext import asyncio as theirs
from sqlalchemy.util import greenlet_spawn

from benchmarks.engines import ONE, SIZE, TIMES, summed, table, targets
from benchmarks.report import Measurement, in_rounds
from poolmgr.targets.sqlalchemy import async_engine, create_async_engine

DRIVERS = ("asyncpg", "psycopg")
LENT = "poolmgr, on Django's pool, psycopg"
OURS, THEIRS = "poolmgr, {}", "SQLAlchemy, AsyncAdaptedQueuePool, {}"


def measure(world: Any) -> Measurement:
    rounds = 40 if world.quick else 300
    with asyncio.Runner() as runner:
        engines = _engines(world.url)
        for each in engines.values():
            runner.run(_query(each))
        found = in_rounds(list(engines.values()), rounds, lambda each: runner.run(_one_round(each)))
        for each in engines.values():
            runner.run(each.dispose())
    return _report(dict(zip(engines, map(summed, found), strict=True)), rounds)


def _engines(url: str) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for driver in DRIVERS:
        at = url.replace("postgresql://", f"postgresql+{driver}://")
        # As in a site: with its liveness checks, its rounds and its figures.
        ours = create_async_engine(f"bench-{driver}", at, pool={"min_size": 1, "max_size": SIZE})
        made[OURS.format(driver)] = ours
        made[THEIRS.format(driver)] = theirs.create_async_engine(at, pool_size=SIZE, max_overflow=0)
    made[LENT] = async_engine("default")
    return made


async def _one_round(given: Any) -> tuple[float, ...]:
    """Microseconds of pool.connect(), of engine.connect(), and of a query."""
    pool = given.pool
    checkout = await greenlet_spawn(_timed, lambda: pool.connect().close())
    return checkout, await _awaited(lambda: _connect(given), TIMES), await _awaited(lambda: _query(given), TIMES // 20)


async def _connect(given: Any) -> None:
    async with given.connect():
        pass


async def _query(given: Any) -> None:
    async with given.connect() as conn:
        await conn.execute(ONE)


def _timed(act: Callable[[], Any]) -> float:
    began = perf_counter()
    for _ in range(TIMES):
        act()
    return (perf_counter() - began) / TIMES * 1e6


async def _awaited(act: Callable[[], Awaitable[Any]], times: int) -> float:
    began = perf_counter()
    for _ in range(times):
        await act()
    return (perf_counter() - began) / times * 1e6


def _report(figures: dict[str, list[tuple[float, float]]], rounds: int) -> Measurement:
    pairs = [(driver, OURS.format(driver), THEIRS.format(driver)) for driver in DRIVERS]
    pairs.append((LENT, LENT, THEIRS.format("psycopg")))
    return Measurement(
        "What a pool adds to an asyncio engine of SQLAlchemy's",
        f"Microseconds, a pool of {SIZE}, one event loop; medians and minima of {rounds} rounds, in which all take turns."
        " *pool*: `connect()` of it and `close()` in one greenlet. *engine*: `async with engine.connect()`, with SQLAlchemy's"
        " own rollback. *SELECT 1*: the same with a query.",
        ["", "pool", "min", "engine", "min", "SELECT 1", "min"],
        table(figures, [ours for _, ours, _ in pairs]),
        [each for pair in pairs for each in targets(figures, *pair, "AsyncAdaptedQueuePool")],
    )
