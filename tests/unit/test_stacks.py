"""The stack of who holds a connection: what is told of it, and how much."""

import asyncio
import threading
from typing import Any

from poolmgr.pools.owners import innermost, stack_of
from tests.waiting import until

MOST = (50, 20_000)


def deep(depth: int, then: Any) -> None:
    if depth:
        deep(depth - 1, then)
    else:
        then()


def test_of_a_deep_stack_the_innermost_calls_are_told_within_their_bytes() -> None:
    over, there = threading.Event(), threading.Event()

    def last() -> None:
        secret = "a value that is nobody's business"
        there.set()
        over.wait(30)
        del secret

    thread = threading.Thread(target=deep, args=[300, last])
    thread.start()
    try:
        assert there.wait(10)
        until(lambda: "over.wait(30)" in stack_of(thread))
        told = innermost(thread, *MOST)
        assert len(told) <= 50
        assert any("in last" in call for call in told[-4:])
        assert "nobody's business" not in "".join(told)
        assert "_bootstrap" not in "".join(told)
        assert "_bootstrap" in stack_of(thread)
        few = innermost(thread, 50, 300)
        assert 0 < sum(len(call.encode()) for call in few) <= 300
        assert few == told[-len(few) :]
        assert innermost(thread, 50, 10) == ()
    finally:
        over.set()
        thread.join(10)
    assert innermost(thread, *MOST) == ()


def test_what_looks_like_a_password_in_a_line_of_code_is_not_told() -> None:  # P13
    over = threading.Event()

    def connects(address: str) -> None:
        over.wait(30)

    def last() -> None:
        connects("postgresql://user:hunter2@host/db")

    thread = threading.Thread(target=last)
    thread.start()
    try:
        until(lambda: "in connects" in stack_of(thread))
        told = "".join(innermost(thread, *MOST))
        assert "connects(" in told
        assert "hunter2" not in told
    finally:
        over.set()
        thread.join(10)


async def waits(over: asyncio.Event) -> None:
    await over.wait()


async def blocks(over: threading.Event) -> None:
    over.wait(30)


def test_of_a_task_that_awaits_its_awaits_are_told_and_of_one_that_blocks_what_it_is_in() -> None:
    over, ends = asyncio.Event(), threading.Event()
    tasks: list[asyncio.Task[None]] = []

    async def main() -> None:
        tasks.append(asyncio.create_task(waits(over)))
        await asyncio.sleep(0.01)
        tasks.append(asyncio.create_task(blocks(ends)))
        await tasks[1]
        over.set()
        await tasks[0]

    thread = threading.Thread(target=asyncio.run, args=[main()])
    thread.start()
    try:
        until(lambda: len(tasks) == 2 and "over.wait(30)" in stack_of(tasks[1]))
        assert any("await over.wait()" in call for call in innermost(tasks[0], *MOST))
        told = innermost(tasks[1], *MOST)
        assert any("in blocks" in call for call in told)
        assert "threading.py" in told[-1]  # beyond what its coroutines know
    finally:
        ends.set()
        thread.join(10)
    assert innermost(tasks[0], *MOST) == ()


def test_who_has_no_stack_has_none() -> None:
    class Odd:
        name = "odd"

    assert innermost(Odd(), *MOST) == ()
