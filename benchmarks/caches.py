"""What a Redis pool adds to a command. One thread, nobody waits: the shortest way there is."""

from __future__ import annotations

import threading
from collections.abc import Callable
from time import perf_counter
from typing import Any

import redis

from benchmarks.report import Measurement, Target, in_rounds, median
from poolmgr.targets.redis.pool import ManagedConnectionPool
from poolsite.demo.servers import EmbeddedRedis

SIZE = 4
TIMES = 100
MANAGED, BLOCKING, PLAIN = "poolmgr", "redis-py, BlockingConnectionPool", "redis-py, ConnectionPool"
#: How much of a plain BlockingConnectionPool's time a checkout and a return, and a whole command, may take.
CHECKOUT, COMMAND = 0.6, 1.05


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
        [f"**{name}**" if name == MANAGED else name, *(cell for pair in got for cell in pair)]
        for name, got in figures.items()
    ]
    ours, theirs = figures[MANAGED], figures[BLOCKING]
    targets = [
        Target(f"{what}, of BlockingConnectionPool's ({kind})", ours[which][number] / theirs[which][number], limit)
        for which, what, limit in ((0, "checkout and return", CHECKOUT), (1, "a whole PING", COMMAND))
        for number, kind in ((0, "medians"), (1, "minima"))
    ]
    return Measurement(
        "What a pool adds to a command of Redis",
        f"Microseconds, a pool of {SIZE}; medians and minima of {rounds} rounds, in which all take turns. *Checkout*:"
        f" `get_connection()` and `release()`. *PING*: a whole command of one thread. *{SIZE} threads*: one of theirs.",
        ["", "checkout", "min", "PING", "min", f"{SIZE} threads", "min"],
        rows,
        targets,
    )
