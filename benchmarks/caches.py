"""What a Redis pool adds to a command, by threads and by asyncio. Nobody waits: the shortest way there is."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from time import perf_counter
from typing import Any

import redis
import redis.asyncio

from benchmarks.report import Measurement, Target, in_rounds, median
from poolmgr.targets.redis.asyncio import AsyncManagedConnectionPool
from poolmgr.targets.redis.pool import ManagedConnectionPool
from poolsite.demo.servers import EmbeddedRedis

SIZE = 4
TIMES = 100
MANAGED, BLOCKING, PLAIN = "poolmgr", "redis-py, BlockingConnectionPool", "redis-py, ConnectionPool"
#: How much of a plain BlockingConnectionPool's time a checkout and a return, and a whole command, may take.
CHECKOUT, COMMAND = 0.6, 1.05
#: The same by asyncio.
ASYNC_CHECKOUT, ASYNC_COMMAND = 1.0, 1.0
BY_ASYNCIO = ", asyncio"


def measure(world: Any) -> Measurement:
    rounds = 40 if world.quick else 300
    with EmbeddedRedis(world.directory / "redis") as server:
        pools = _pools(server.url())
        for pool in pools.values():
            _command(pool)
        found = in_rounds(list(pools.values()), rounds, _one_round)
        for pool in pools.values():
            pool.disconnect()
        figures = dict(zip(pools, map(_summed, found), strict=True))
        with asyncio.Runner() as runner:
            figures |= _by_asyncio(runner, server.url(), rounds)
    return _report(figures, rounds)


def _pools(url: str) -> dict[str, Any]:
    return {
        # As in a site: with its liveness checks, its rounds and its figures.
        MANAGED: ManagedConnectionPool.from_url(url, target="bench", pool={"min_size": 1, "max_size": SIZE}),
        BLOCKING: redis.BlockingConnectionPool.from_url(url, max_connections=SIZE),
        PLAIN: redis.ConnectionPool.from_url(url, max_connections=SIZE),
    }


def _one_round(pool: Any) -> tuple[float, float, float]:
    """Microseconds of a checkout and return, of a whole PING, and of one of four threads' PINGs."""
    return _timed(lambda: pool.release(pool.get_connection()), TIMES), _command(pool), _shared(pool)


def _command(pool: Any) -> float:
    return _timed(redis.Redis(connection_pool=pool).ping, TIMES // 4)


def _shared(pool: Any) -> float:
    client, times = redis.Redis(connection_pool=pool), TIMES // 10
    threads = [threading.Thread(target=lambda: [client.ping() for _ in range(times)]) for _ in range(SIZE)]
    began = perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return (perf_counter() - began) / times / SIZE * 1e6


def _by_asyncio(runner: asyncio.Runner, url: str, rounds: int) -> dict[str, list[tuple[float, float]]]:
    pools: dict[str, Any] = {
        MANAGED: AsyncManagedConnectionPool.from_url(url, target="tasks", pool={"min_size": 1, "max_size": SIZE}),
        BLOCKING: redis.asyncio.BlockingConnectionPool.from_url(url, max_connections=SIZE),
        PLAIN: redis.asyncio.ConnectionPool.from_url(url, max_connections=SIZE),
    }
    for pool in pools.values():
        runner.run(_one_round_of_tasks(pool))
    found = in_rounds(list(pools.values()), rounds, lambda pool: runner.run(_one_round_of_tasks(pool)))
    for pool in pools.values():
        runner.run(pool.disconnect())
    return {name + BY_ASYNCIO: _summed(times) for name, times in zip(pools, found, strict=True)}


async def _one_round_of_tasks(pool: Any) -> tuple[float, float, float]:
    async def borrow() -> None:
        await pool.release(await pool.get_connection())

    client, times = redis.asyncio.Redis(connection_pool=pool), TIMES // 10
    checkout, command = await _awaited(borrow, TIMES), await _awaited(client.ping, TIMES // 4)
    began = perf_counter()
    await asyncio.gather(*(_awaited(client.ping, times) for _ in range(SIZE)))
    return checkout, command, (perf_counter() - began) / times / SIZE * 1e6


async def _awaited(act: Callable[[], Awaitable[Any]], times: int) -> float:
    began = perf_counter()
    for _ in range(times):
        await act()
    return (perf_counter() - began) / times * 1e6


def _timed(act: Callable[[], Any], times: int) -> float:
    began = perf_counter()
    for _ in range(times):
        act()
    return (perf_counter() - began) / times * 1e6


def _summed(times: list[tuple[float, float, float]]) -> list[tuple[float, float]]:
    """Median and minimum of each kind."""
    return [(median(values), min(values)) for values in zip(*times, strict=True)]


def _report(figures: dict[str, list[tuple[float, float]]], rounds: int) -> Measurement:
    rows = [
        [f"**{name}**" if name.startswith(MANAGED) else name, *(cell for pair in got for cell in pair)]
        for name, got in figures.items()
    ]
    targets = [
        *_targets(figures, "", (CHECKOUT, COMMAND)),
        *_targets(figures, BY_ASYNCIO, (ASYNC_CHECKOUT, ASYNC_COMMAND)),
    ]
    return Measurement(
        "What a pool adds to a command of Redis",
        f"Microseconds, a pool of {SIZE}; medians and minima of {rounds} rounds, in which all take turns. *Checkout*:"
        f" `get_connection()` and `release()`. *PING*: a whole command of one thread or task. *{SIZE} at once*: one of"
        " those of several.",
        ["", "checkout", "min", "PING", "min", f"{SIZE} at once", "min"],
        rows,
        targets,
    )


def _targets(figures: dict[str, list[tuple[float, float]]], suffix: str, limits: tuple[float, float]) -> list[Target]:
    ours, theirs = figures[MANAGED + suffix], figures[BLOCKING + suffix]
    return [
        Target(
            f"{what}, of BlockingConnectionPool's{suffix} ({kind})", ours[which][number] / theirs[which][number], limit
        )
        for which, what, limit in ((0, "checkout and return", limits[0]), (1, "a whole PING", limits[1]))
        for number, kind in ((0, "medians"), (1, "minima"))
    ]
