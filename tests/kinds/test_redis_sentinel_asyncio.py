"""Sentinel by asyncio: several loops with one pool, and what they leave at the Sentinel."""

import asyncio
import gc
import os
import signal
import socket
from collections.abc import Iterator
from time import monotonic
from typing import Any

import pytest
from redis.asyncio.sentinel import Sentinel

from poolmgr.pools import registry
from poolmgr.targets.redis.asyncio import AsyncManagedSentinelPool
from poolsite.demo.ports import HOST
from tests.forking import in_child
from tests.kinds.async_subjects import Loop
from tests.redis_sentinel import SERVICE, Watched
from tests.waiting import until

TARGET = "test:sentinel"


@pytest.fixture(autouse=True)
def closed(no_agent: None) -> Iterator[None]:
    yield
    registry.close(TARGET)


def client_of(watched: Watched, patience: float = 1, before: Any = (), **pool: Any) -> Any:
    return watched.sentinel(Sentinel, patience, before).master_for(
        SERVICE,
        connection_pool_class=AsyncManagedSentinelPool,
        client_name="ours",
        target=TARGET,
        pool={"min_size": 0, "connection_timeout": 10.0, **pool},
    )


def clients(watched: Watched, server: Any) -> int:
    return sum(each["name"] == "ours" for each in watched.admin(server).client_list(_type="normal"))


def at_sentinel(watched: Watched) -> int:
    """How many connections the Sentinel has, but for who asks."""
    asks = watched.sentinel().sentinels[0]
    found = len(asks.client_list(_type="normal")) - 1
    asks.close()
    return found


async def _port(client: Any) -> int:
    return int((await client.info("server"))["tcp_port"])


def test_one_client_serves_several_loops_each_of_which_follows_the_master(watched: Watched) -> None:  # P3 P6 P7
    client = client_of(watched, max_size=3)
    loops = [Loop(), Loop()]
    before = at_sentinel(watched)
    try:
        old, new = watched.master, watched.replica
        for loop in loops:
            assert loop.do(lambda: _port(client)) == old.port
        seen = registry.get(TARGET)
        assert seen is not None
        assert (seen.snapshot().idle, clients(watched, old)) == (2, 2)
        watched.fail_over()
        until(lambda: not clients(watched, old), "the idle ones of both loops to go", timeout=5)
        # Nobody has told the old one yet, which would end its connections.
        assert watched.admin(old).info("replication")["role"] == "master"
        for loop in loops:
            assert loop.do(lambda: _port(client)) == new.port
        until(lambda: seen.snapshot().address == f"{SERVICE} at 127.0.0.1:{new.port}/0")
    finally:
        for loop in loops:
            loop.close()
    until(lambda: not clients(watched, new) and at_sentinel(watched) <= before, "what the loops had to be gone")


def test_loop_that_ends_takes_its_questions_along(watched: Watched, recwarn: Any) -> None:  # P4
    gc.collect()
    recwarn.clear()  # of what others have dropped
    client = client_of(watched, max_size=2)
    before = at_sentinel(watched)
    for _ in range(3):
        assert asyncio.run(_port(client)) == watched.master.port
    gc.collect()
    assert [str(each.message) for each in recwarn if issubclass(each.category, ResourceWarning)] == []
    until(lambda: at_sentinel(watched) <= before, "the loops' connections to the Sentinel to go")
    assert clients(watched, watched.master) == 0


def test_forked_child_finds_the_master_in_a_loop_of_its_own(watched: Watched) -> None:  # P3
    client = client_of(watched, max_size=2)

    async def main() -> None:
        mine = await client.client_id()

        def child() -> Any:
            client.connection_pool.master_address = None
            return asyncio.run(client.client_id())

        assert in_child(child) != mine
        assert await client.client_id() == mine

    asyncio.run(main())


def test_loop_that_is_busy_while_the_master_changes_hands_out_no_old_connection(watched: Watched) -> None:  # P7
    client = client_of(watched, max_size=3)
    other = Loop()
    try:
        assert other.do(lambda: _port(client)) == watched.master.port

        async def main() -> None:
            assert await _port(client) == watched.master.port
            watched.fail_over()  # the whole loop waits
            until(lambda: client.connection_pool.master_address[1] == watched.master.port, "the other loop to ask")
            assert await _port(client) == watched.master.port

        asyncio.run(main())
    finally:
        other.close()


def test_sentinel_that_says_nothing_is_asked_last_from_then_on(watched: Watched) -> None:  # P8
    with socket.create_server((HOST, 0)) as silent:  # it is connected to, and nobody accepts
        client = client_of(watched, patience=0.5, before=[silent.getsockname()], max_size=1)

        async def main() -> None:
            for most in (5.0, 0.4):
                began = monotonic()
                assert await _port(client) == watched.master.port
                assert monotonic() - began < most
                await client.connection_pool.disconnect()

        asyncio.run(main())
    first = client.connection_pool.sentinel_manager.sentinels[0]
    assert first.connection_pool.connection_kwargs["port"] == watched.port


def test_answer_that_was_read_late_does_not_bring_the_old_master_back(watched: Watched) -> None:  # P7
    client = client_of(watched, patience=30, max_size=3)
    pool, other = client.connection_pool, Loop()
    old, new = watched.master, watched.replica
    try:
        assert other.do(lambda: _port(client)) == old.port

        async def main() -> None:
            assert await _port(client) == old.port
            os.kill(watched.sentinel_pid, signal.SIGSTOP)
            late = asyncio.create_task(pool.get_master_address())
            await asyncio.sleep(0.1)  # the question is there
            os.kill(watched.sentinel_pid, signal.SIGCONT)
            watched.fail_over()  # the whole loop waits, with the answer before it
            until(lambda: pool.master_address[1] == new.port, "the other loop to ask")
            assert (await late)[1] == new.port
            assert await _port(client) == new.port

        asyncio.run(main())
    finally:
        other.close()
