"""What a checkout of an asyncpg connection costs on a managed pool. One task, nobody waits: the shortest way there is."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from time import process_time
from typing import Any

import asyncpg

from benchmarks.engines import summed
from benchmarks.report import Measurement, Target, in_rounds
from poolmgr.targets.asyncpg.arguments import of_url
from poolmgr.targets.asyncpg.making import Maker
from poolmgr.targets.asyncpg.pool import AsyncpgPool

SIZE = 4
TIMES = 200
OURS, BARE, USUAL = "poolmgr", "asyncpg, reset switched off", "asyncpg, as it is"
#: How much a clean checkout may take: of one that cleans nothing, and of asyncpg's own.
OF_BARE, OF_USUAL = 1.3, 0.5


def measure(world: Any) -> Measurement:
    rounds = 40 if world.quick else 300
    with asyncio.Runner() as runner:
        pools = runner.run(_pools(world.url))
        found = in_rounds(list(pools.values()), rounds, lambda each: runner.run(_one_round(each)))
        for each in pools.values():
            runner.run(each.close())
    return _report(dict(zip(pools, map(summed, found), strict=True)), rounds)


async def _pools(url: str) -> dict[str, Any]:
    made = {
        # As in a site: with its liveness checks, its rounds and its figures.
        OURS: AsyncpgPool(Maker(of_url(url, {})), target="bench-asyncpg", pool={"min_size": 1, "max_size": SIZE}),
        BARE: await asyncpg.create_pool(url, min_size=1, max_size=SIZE, reset=_leave),
        USUAL: await asyncpg.create_pool(url, min_size=1, max_size=SIZE),
    }
    for each in made.values():
        await each.fetchval("SELECT 1")
    return made


async def _leave(conn: Any) -> None: ...


async def _one_round(pool: Any) -> tuple[float, ...]:
    """Microseconds of this process's of a checkout with its return, of a query, and of one that leaves something."""
    return (
        await _timed(lambda: _checkout(pool), TIMES),
        await _timed(lambda: _use(pool, "SELECT 1"), TIMES // 10),
        await _timed(lambda: _use(pool, "SET work_mem = '8MB'"), TIMES // 10),
    )


async def _checkout(pool: Any) -> None:
    async with pool.acquire():
        pass


async def _use(pool: Any, statement: str) -> None:
    async with pool.acquire() as conn:
        await conn.execute(statement)


async def _timed(act: Callable[[], Coroutine[Any, Any, None]], times: int) -> float:
    began = process_time()
    for _ in range(times):
        await act()
    return (process_time() - began) / times * 1e6


def _report(figures: dict[str, list[tuple[float, float]]], rounds: int) -> Measurement:
    rows = [
        [f"**{name}**" if name == OURS else name, *(cell for pair in got for cell in pair)]
        for name, got in figures.items()
    ]
    targets = [
        Target(f"a clean checkout, of {other}'s ({kind})", figures[OURS][0][n] / figures[other][0][n], limit)
        for other, limit in ((BARE, OF_BARE), (USUAL, OF_USUAL))
        for n, kind in enumerate(("medians", "minima"))
    ]
    return Measurement(
        "What a pool adds to an asyncpg connection",
        f"Microseconds of this process's time, a pool of {SIZE}, one event loop; medians and minima of {rounds} rounds, in"
        " which all take turns. *Checkout*: `async with pool.acquire()`. *SELECT 1*: the same with a query. *SET*: the same"
        " with a statement that leaves something, which the second hands to the next borrower, and the others take back.",
        ["", "checkout", "min", "SELECT 1", "min", "SET", "min"],
        rows,
        targets,
    )
