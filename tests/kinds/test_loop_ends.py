"""A loop that ends while the pool's thread is late to come for what has just connected in it."""

import asyncio
import gc
import os
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis.asyncio

import poolmgr.aio
from poolmgr.pools import registry
from poolmgr.pools.aio import bridge
from poolmgr.targets.asyncpg.arguments import of_url
from poolmgr.targets.asyncpg.making import Maker
from poolmgr.targets.asyncpg.pool import AsyncpgPool
from poolmgr.targets.sqlalchemy import create_async_engine
from poolsite.demo.servers import EmbeddedPostgres, EmbeddedRedis
from tests import pools
from tests.agents import without_agent
from tests.waiting import until, when

Take = Callable[[], Any]


class Late(threading.Event):
    """What a thread of the pool waits at for the loop: it hears late of what was done there."""

    heard: int
    gate: threading.Event

    def wait(self, timeout: float | None = None) -> bool:
        done = super().wait(timeout)
        if done:
            Late.heard += 1
            Late.gate.wait(20)
        return done


@pytest.fixture
def late(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Late]]:
    Late.heard, Late.gate = 0, threading.Event()
    monkeypatch.setattr(bridge, "Event", Late)
    yield Late
    Late.gate.set()


def _asyncpg(url: str) -> Take:
    pool = AsyncpgPool(Maker(of_url(url, {})), pool={"max_size": 1})
    return lambda: pool.fetchval("SELECT 1")


def _sqlalchemy(driver: str, url: str) -> Take:
    engine = create_async_engine("", url.replace("postgresql:", f"postgresql+{driver}:"), pool={"max_size": 1})
    return engine.raw_connection


WAYS: dict[str, Callable[[str], Take]] = {
    "asyncpg": _asyncpg,
    "sqlalchemy and asyncpg": lambda url: _sqlalchemy("asyncpg", url),
    "sqlalchemy and psycopg": lambda url: _sqlalchemy("psycopg", url),
}


def _end_with(take: Take, late: type[Late]) -> None:
    """Run a loop to its end with a connection that its pool's thread has not come for."""

    async def main() -> None:
        task = asyncio.ensure_future(take())
        await when(lambda: late.heard)
        task.cancel()

    asyncio.run(main())


@pytest.mark.long
@pytest.mark.parametrize("way", WAYS)
def test_what_had_connected_is_closed_in_the_loop_though_its_thread_comes_later(  # P4
    way: str, postgres: EmbeddedPostgres, late: type[Late], recwarn: pytest.WarningsRecorder
) -> None:
    url = pools.emptied(str(postgres.create_database("kinds")))
    _end_with(WAYS[way](url), late)
    until(lambda: not pools.backends(url), "the session to end before its thread comes")
    gc.collect()
    recwarn.clear()
    late.gate.set()
    until(lambda: not pools.backends(url))
    gc.collect()
    assert [str(each.message) for each in recwarn if "unclosed" in str(each.message)] == []


@pytest.mark.long
def test_the_same_of_redis(
    redis_server: EmbeddedRedis, settings: Any, late: type[Late], recwarn: pytest.WarningsRecorder
) -> None:  # P4
    target = {"KIND": "redis", "URL": redis_server.url(), "POOL": {"min_size": 0, "max_size": 1}}
    settings.POOLMGR = {"AGENT": False, "TARGETS": {"queue": target}}
    without_agent()
    before = len(os.listdir("/proc/self/fd"))
    gc.collect()

    _end_with(lambda: redis.asyncio.Redis(connection_pool=poolmgr.aio.pool("queue")).ping(), late)
    late.gate.set()
    until(lambda: len(os.listdir("/proc/self/fd")) <= before, "its socket to be closed")
    assert [str(each.message) for each in recwarn if "unclosed" in str(each.message)] == []
    registry.close("queue")
