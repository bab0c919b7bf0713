"""What a checkout of an async psycopg connection costs on the managed pool. One task, nobody waits: the shortest way."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from time import process_time
from typing import Any

import psycopg_pool

import poolmgr.aio
from benchmarks.engines import summed, table
from benchmarks.report import Measurement, Target, in_rounds

SIZE, TIMES = 4, 200
OURS, BARE = "poolmgr", "psycopg_pool, AsyncConnectionPool"
#: How much of the bare pool's time ours may take.
LIMIT = 1.3


def measure(world: Any) -> Measurement:
    rounds = 40 if world.quick else 300
    with asyncio.Runner() as runner:
        bare = runner.run(_bare(world.url))
        # As in a site: with its liveness checks, its rounds and its figures.
        pools = {OURS: poolmgr.aio.pool("default"), BARE: bare}
        for each in pools.values():
            runner.run(_query(each))
        found = in_rounds(list(pools.values()), rounds, lambda each: runner.run(_one_round(each)))
        runner.run(bare.close())
    return _report(dict(zip(pools, map(summed, found), strict=True)), rounds)


async def _bare(url: str) -> Any:
    # As Django's settings have it: each statement is its own transaction, and none is prepared.
    same = {"autocommit": True, "prepare_threshold": None}
    pool = psycopg_pool.AsyncConnectionPool(url, min_size=1, max_size=SIZE, kwargs=same, open=False)
    await pool.open(wait=True)
    return pool


async def _one_round(pool: Any) -> tuple[float, ...]:
    """Microseconds of this process's of a block, of its two halves by themselves, and of a block with a query."""
    return (
        await _timed(lambda: _block(pool), TIMES),
        await _timed(lambda: _halves(pool), TIMES),
        await _timed(lambda: _query(pool), TIMES // 10),
    )


async def _block(pool: Any) -> None:
    async with pool.connection():
        pass


async def _halves(pool: Any) -> None:
    await pool.putconn(await pool.getconn())


async def _query(pool: Any) -> None:
    async with pool.connection() as conn:
        await (await conn.execute("SELECT 1")).fetchone()


async def _timed(act: Callable[[], Coroutine[Any, Any, None]], times: int) -> float:
    began = process_time()
    for _ in range(times):
        await act()
    return (process_time() - began) / times * 1e6


def _report(figures: dict[str, list[tuple[float, float]]], rounds: int) -> Measurement:
    targets = [
        Target(f"{what}, of the bare pool's ({kind})", figures[OURS][which][n] / figures[BARE][which][n], LIMIT)
        for which, what in ((0, "checkout and return"), (2, "the same with SELECT 1"))
        for n, kind in enumerate(("medians", "minima"))
    ]
    return Measurement(
        "What a pool adds to an async psycopg connection",
        f"Microseconds of this process's time, one event loop, autocommit, no prepared statements; medians and minima of"
        f" {rounds} rounds, in which both take turns. *Block*: `async with pool.connection()`. *Halves*: `getconn()` and"
        " `putconn()`. *SELECT 1*: a block with a query.",
        ["", "block", "min", "halves", "min", "SELECT 1", "min"],
        table(figures, [OURS]),
        targets,
    )
