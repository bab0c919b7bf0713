"""What a thread has done in an event loop: its results, its deadlines, and what it hears of a loop that is busy or ends."""

import asyncio
import gc
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from poolmgr.pools.aio.bridge import Bridge, LoopBusy
from tests.waiting import until


@pytest.fixture
def bridge() -> Iterator[Bridge]:
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    yield Bridge(loop)
    if not loop.is_closed():
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


async def _three() -> int:
    await asyncio.sleep(0)
    return 3


async def _wrong() -> None:
    raise ValueError("wrong")


async def _for_ever() -> None:
    await asyncio.Event().wait()


def test_what_a_coroutine_returns_and_raises_comes_back(bridge: Bridge) -> None:
    assert bridge.run(_three, 5) == 3
    with pytest.raises(ValueError, match="wrong"):
        bridge.run(_wrong, 5)


class Interrupted(BaseException):
    """As one out of a signal handler, which Python runs in the main thread, whose loop it may be."""


def test_an_interruption_of_the_loop_reaches_nobody_else_and_keeps_nobody_waiting(bridge: Bridge) -> None:  # P8
    bridge.loop.set_exception_handler(lambda loop, context: None)

    def interrupted() -> Any:
        raise Interrupted

    async def interrupted_later() -> None:
        await asyncio.sleep(0)
        raise Interrupted

    for begin in (interrupted, interrupted_later):
        began = time.monotonic()
        with pytest.raises(LoopBusy, match="interrupted"):
            bridge.run(begin, 60)
        assert time.monotonic() - began < 30
    assert bridge.run(_three, 5) == 3


def test_a_coroutine_that_takes_too_long_is_cancelled(bridge: Bridge) -> None:  # P8
    cancelled: list[bool] = []

    async def note() -> None:
        try:
            await _for_ever()
        except asyncio.CancelledError:
            cancelled.append(True)
            raise

    with pytest.raises(TimeoutError):
        bridge.run(note, 0.1)
    assert cancelled == [True]


def test_a_loop_that_is_busy_is_told_from_a_coroutine_that_takes_too_long(bridge: Bridge) -> None:
    begun: list[bool] = []

    async def begin() -> None:
        begun.append(True)

    bridge.tell(lambda: time.sleep(1.0))
    with pytest.raises(LoopBusy):
        bridge.run(begin, 0.1)
    assert bridge.run(_three, 5) == 3
    assert begun == []


def test_a_loop_that_becomes_busy_meanwhile_is_no_fault_of_the_coroutine_s(bridge: Bridge) -> None:
    bridge.loop.call_soon_threadsafe(bridge.loop.call_later, 0.05, time.sleep, 1.0)
    with pytest.raises(LoopBusy):
        bridge.run(_for_ever, 0.2)


def test_a_loop_that_can_make_no_task_says_so_at_once(bridge: Bridge) -> None:
    def refuse(*args: Any, **kwargs: Any) -> Any:
        raise MemoryError

    bridge.loop.set_task_factory(refuse)
    with pytest.raises(MemoryError):
        bridge.run(_three, 20)


def test_a_loop_that_stands_still_does_not_begin_later(bridge: Bridge) -> None:
    begun: list[bool] = []

    async def begin() -> None:
        begun.append(True)

    bridge.loop.call_soon_threadsafe(bridge.loop.stop)
    until(lambda: not bridge.is_open)
    with pytest.raises(LoopBusy):
        bridge.run(begin, 0.1)
    bridge.loop.run_until_complete(_three())
    assert begun == []


def test_a_loop_that_is_closed_meanwhile_says_so(bridge: Bridge) -> None:
    def close() -> None:
        bridge.loop.call_soon_threadsafe(bridge.loop.stop)
        until(lambda: not bridge.is_open)
        bridge.loop.close()

    thread = threading.Timer(0.2, close)
    thread.start()
    with pytest.raises(LoopBusy, match="closed"):
        bridge.run(_for_ever, 20)
    thread.join()
    with pytest.raises(LoopBusy, match="closed"):
        bridge.run(_three, 20)


def test_a_loop_that_is_about_to_be_closed_begins_nothing_and_leaves_nothing_pending() -> None:  # P4
    told: list[BaseException] = []

    async def takes_a_moment() -> None:
        await asyncio.sleep(0.05)

    async def main() -> None:
        bridge = Bridge(asyncio.get_running_loop())

        def run(begin: Any) -> None:
            try:
                bridge.run(begin, 60)
            except LoopBusy as ex:
                told.append(ex)

        begun = [asyncio.create_task(asyncio.to_thread(run, begin)) for begin in (takes_a_moment, _for_ever)]
        while len(asyncio.all_tasks()) < 1 + 2 * len(begun):
            await asyncio.sleep(0.005)
        await bridge.end(0.5)
        await asyncio.gather(*begun)
        assert [str(each) for each in told] == ["the event loop has cancelled it"]
        assert asyncio.all_tasks() == {asyncio.current_task()}
        await asyncio.to_thread(run, _three)
        assert str(told[-1]) == "the event loop, or the pool, ends"
        assert not bridge.is_open

    asyncio.run(main())


def test_a_loop_that_is_closed_at_once_says_nothing_of_what_it_never_came_to(
    recwarn: pytest.WarningsRecorder, caplog: pytest.LogCaptureFixture
) -> None:
    gc.collect()  # what other tests have left says its own
    caplog.clear()
    recwarn.clear()
    loop = asyncio.new_event_loop()
    told: list[str] = []

    def run() -> None:
        try:
            Bridge(loop).run(_three, 60)
        except LoopBusy as ex:
            told.append(str(ex))

    thread = threading.Thread(target=run)
    thread.start()
    until(lambda: loop._ready)  # type: ignore[attr-defined]
    loop.call_soon(loop.stop)
    loop.run_forever()  # for one turn, in which the task is made
    loop.close()
    thread.join(10)
    assert told == ["the event loop was closed"]
    gc.collect()
    assert not [str(each.message) for each in recwarn]
    # Of the pool's own, what another test has left to do may be told.
    assert not [each.getMessage() for each in caplog.records if each.name == "asyncio"]
