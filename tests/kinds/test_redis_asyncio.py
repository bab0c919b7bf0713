"""What is redis.asyncio's alone: event loops, tasks that end or are cancelled, what they leave on a connection."""

import asyncio
import gc
import logging
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import suppress
from typing import Any

import pytest
import redis
from redis.asyncio import Redis as Client

import poolmgr.aio
from poolmgr import exceptions
from poolmgr.pools import registry
from poolmgr.pools.desired import Desired
from poolmgr.pools.lane import console_lane
from poolmgr.targets.known import address_of
from poolmgr.targets.redis.asyncio import AsyncManagedConnectionPool
from poolmgr.targets.redis.asyncio.driver import AsyncRedisDriver
from poolmgr.targets.redis.kind import REDIS
from tests.forking import in_child
from tests.kinds.subjects import Redis
from tests.waiting import until, when

Make = Callable[..., AsyncManagedConnectionPool]


@pytest.fixture
def make(redis_subject: Redis) -> Iterator[Make]:
    """make(**arguments): a pool of redis-py's own words on the subject's server; each loop's goes with its loop."""

    def one(**arguments: Any) -> AsyncManagedConnectionPool:
        return AsyncManagedConnectionPool.from_url(arguments.pop("url", redis_subject.url), **arguments)

    yield one
    until(lambda: not redis_subject.ends(), "the connections of loops that ended to go")


async def ends_but(subject: Redis, number: int) -> None:
    await when(lambda: len(subject.ends()) == number, f"{number} ends at the server")


# -- what borrowers leave ---------------------------------------------------------------------------------------------


async def _by_words(conn: Any, *words: Any) -> None:
    await conn.send_command(*words)
    await conn.read_response(push_request=True)


async def _in_a_batch(conn: Any, *words: Any) -> None:
    await conn.send_packed_command(conn.pack_commands([("PING",), words]))
    await conn.read_response()
    await conn.read_response(push_request=True)


LEFT = [
    ("SELECT", "5"),
    (b"select", 5),
    ("MULTI",),
    ("WATCH", "a"),
    ("CLIENT SETNAME", "somebody"),
    ("CLIENT", "TRACKING", "on"),
    ("SUBSCRIBE", "channel"),
    ("HELLO", "2"),
    ("RESET",),
]


@pytest.mark.parametrize("send", [_by_words, _in_a_batch])
@pytest.mark.parametrize("words", LEFT, ids=str)
def test_connection_that_is_not_as_it_was_connected_is_never_handed_on(  # P2
    make: Make, redis_subject: Redis, words: tuple[Any, ...], send: Callable[..., Awaitable[None]]
) -> None:
    async def main() -> None:
        pool = make(pool={"min_size": 0, "max_size": 1})
        conn = await pool.get_connection()
        first = conn.server_id
        await send(conn, *words)
        await pool.release(conn)
        conn = await pool.get_connection()
        assert conn.server_id != first
        await ends_but(redis_subject, 1)
        assert pool.managed.snapshot().cleaned == 1
        await pool.release(conn)

    asyncio.run(main())


def test_reply_that_nobody_read_reaches_nobody_else(make: Make) -> None:  # P2 P3
    async def main() -> None:
        pool = make(pool={"min_size": 0, "max_size": 1})
        conn = await pool.get_connection()
        await conn.send_command("ECHO", "mine")
        await pool.release(conn)
        conn = await pool.get_connection()
        await conn.send_command("ECHO", "yours")
        assert await conn.read_response() == b"yours"
        await pool.release(conn)
        assert pool.managed.snapshot().cleaned == 1

    asyncio.run(main())


def test_reply_to_what_was_said_on_a_connection_that_connected_again_reaches_nobody_else(make: Make) -> None:  # P2 P3
    async def main() -> None:
        pool = make(pool={"min_size": 0, "max_size": 1})
        conn = await pool.get_connection()
        await conn.disconnect()
        await conn.send_command("BLPOP", "nothing-there", "0.2")
        await pool.release(conn)
        conn = await pool.get_connection()
        await conn.send_command("ECHO", "yours")
        assert await conn.read_response() == b"yours"
        await pool.release(conn)

    asyncio.run(main())


def test_clients_leave_nothing_behind_and_keep_their_connection(make: Make) -> None:  # P2
    async def main() -> None:
        pool = make(pool={"min_size": 0, "max_size": 1})
        client = Client(connection_pool=pool)
        first = await client.client_id()
        await client.set("number", 1)
        async with client.pipeline() as pipe:
            assert await pipe.incr("number").get("number").execute() == [2, b"2"]
        async with client.pipeline() as pipe:
            await pipe.watch("number")
            pipe.multi()
            assert await pipe.incr("number").execute() == [3]
        async with client.pipeline() as pipe:
            await pipe.watch("number")
        async with client.lock("lock"):
            pass
        with pytest.raises(redis.ResponseError):
            await client.lpush("number", 1)
        assert [key async for key in client.scan_iter("num*")] == [b"number"]
        assert await client.client_id() == first
        seen = pool.managed.snapshot()
        assert (seen.cleaned, seen.used, seen.reclaimed) == (0, 0, 0)

    asyncio.run(main())


def test_subscription_takes_its_connection_along_when_it_ends(make: Make, redis_subject: Redis) -> None:  # P2 P6
    async def main() -> None:
        pool = make(pool={"min_size": 0, "max_size": 2})
        client = Client(connection_pool=pool)
        async with client.pubsub() as subscription:
            await subscription.subscribe("news")
            assert (await subscription.get_message(timeout=5))["type"] == "subscribe"
            await client.publish("news", "hello")
            assert (await subscription.get_message(timeout=5))["data"] == b"hello"
            assert pool.managed.snapshot().used == 1
        assert await client.ping()
        await ends_but(redis_subject, 1)
        assert pool.managed.snapshot().used == 0

    asyncio.run(main())


def test_message_that_the_server_sends_unasked_is_no_sign_of_death(make: Make, redis_subject: Redis) -> None:  # P7
    async def track(conn: Any) -> None:
        await conn.on_connect()
        await _by_words(conn, "CLIENT", "TRACKING", "on", "BCAST")

    async def main() -> None:
        pool = make(pool={"min_size": 0, "max_size": 1}, protocol=3, redis_connect_func=track)
        client = Client(connection_pool=pool)
        first = await client.client_id()
        await asyncio.to_thread(_set, redis_subject)
        slot = pool.managed.idle[-1]
        await when(lambda: slot.conn._reader._buffer, "the loop to read it")
        assert await client.client_id() == first
        await asyncio.to_thread(_set, redis_subject)
        # The loop has not come to read it yet.
        until(lambda: slot.has_news(0))
        assert await client.get("watched") == b"1"
        assert await client.client_id() == first
        assert pool.managed.snapshot().found_dead == 0

    asyncio.run(main())


def _set(subject: Redis) -> None:
    with redis.Redis.from_url(subject.url, protocol=2) as other:
        other.set("watched", "1")


def test_server_that_hung_up_is_noticed_whether_or_not_the_loop_has_read_it(
    make: Make, redis_subject: Redis
) -> None:  # P7
    async def main() -> None:
        pool = make(pool={"min_size": 0, "max_size": 1})
        client = Client(connection_pool=pool)
        first = await client.client_id()
        redis_subject.kill()
        until(lambda: not redis_subject.ends())  # while which the loop does nothing
        second = await client.client_id()
        assert second != first
        redis_subject.kill()
        await asyncio.sleep(0.1)
        assert await client.client_id() not in (first, second)

    asyncio.run(main())


def test_borrower_that_connects_again_in_place_is_followed(make: Make, redis_subject: Redis) -> None:  # P6
    async def main() -> None:
        pool = make(pool={"min_size": 0, "max_size": 1})
        conn = await pool.get_connection()
        first = conn.server_id
        await conn.disconnect()
        await ends_but(redis_subject, 0)
        await _by_words(conn, "PING")
        assert redis_subject.ends() == {conn.server_id}
        seen = pool.managed.snapshot()
        assert (seen.holders[0].backend_pid, seen.created, seen.closed) == (conn.server_id, 2, 1)
        assert conn.server_id != first
        await pool.release(conn)
        # What was packed before it connected is known no more.
        await when(lambda: pool.managed.snapshot().cleaned == 1)

    asyncio.run(main())


# -- tasks ------------------------------------------------------------------------------------------------------------


def test_holder_is_the_task_with_what_it_runs_and_where(make: Make) -> None:
    async def answer(pool: AsyncManagedConnectionPool, asked: asyncio.Event) -> None:
        conn = await pool.get_connection()
        await asked.wait()
        await pool.release(conn)

    async def main() -> None:
        pool, asked = make(pool={"min_size": 0, "max_size": 1, "connection_timeout": 0.1}), asyncio.Event()
        task = asyncio.create_task(answer(pool, asked), name="the-answer")
        core = pool.managed
        holder = await when(lambda: core.snapshot().holders)
        assert holder[0].thread.startswith("the-answer ")
        assert ".answer (test_redis_asyncio.py:" in holder[0].thread
        with pytest.raises(exceptions.PoolExhausted, match=r"held longest by the-answer .*\.answer"):
            await pool.get_connection()
        asked.set()
        await task

    asyncio.run(main())


def test_what_a_task_that_ended_has_dropped_comes_back(make: Make) -> None:  # P4
    async def main() -> None:
        pool = make(pool={"min_size": 0, "max_size": 1})

        async def forget() -> None:
            await pool.get_connection()

        await asyncio.create_task(forget())
        conn = await pool.get_connection()
        assert pool.managed.snapshot().reclaimed == 1
        await pool.release(conn)

    asyncio.run(main())


def test_what_a_task_that_ended_has_kept_comes_back_within_5_seconds(make: Make) -> None:  # P4
    async def main() -> None:
        pool, kept = make(pool={"min_size": 0, "max_size": 1}), []

        async def keep() -> None:
            kept.append(await pool.get_connection())

        await asyncio.create_task(keep())
        conn = await pool.get_connection()
        assert pool.managed.snapshot().reclaimed == 1
        with pytest.raises(redis.ConnectionError, match="taken this connection back"):
            await _by_words(kept[0], "PING")
        await pool.release(kept[0])
        assert pool.managed.snapshot().used == 1
        await pool.release(conn)

    asyncio.run(main())


@pytest.mark.long
def test_what_another_task_goes_on_with_stays_with_it(make: Make, redis_subject: Redis) -> None:  # P3 P4
    async def main() -> None:
        pool = make(pool={"min_size": 0, "max_size": 5})
        client = Client(connection_pool=pool)
        await client.ping()
        # What wait_for() is given may run in a task of its own.
        conn = await asyncio.create_task(pool.get_connection())
        # A variable that an inner function shares is not the coroutine's own.
        shared = await asyncio.create_task(pool.get_connection())

        async def use_shared() -> None:
            await _by_words(shared, "PING")

        single = Client(connection_pool=pool, single_connection_client=True)
        await asyncio.create_task(single.initialize())
        subscription = client.pubsub()
        await asyncio.create_task(subscription.subscribe("news"))
        pipe = client.pipeline()
        await asyncio.create_task(pipe.watch("a"))
        before = redis_subject.ends()
        assert len(before) == 5
        await asyncio.sleep(5)
        assert redis_subject.ends() == before
        await _by_words(conn, "PING")
        await use_shared()
        assert await single.ping()
        pipe.multi()
        assert await pipe.set("a", 1).execute() == [True]
        await pool.release(conn)
        await pool.release(shared)
        await pipe.reset()
        await subscription.aclose()
        await single.aclose()
        seen = pool.managed.snapshot()
        assert (seen.used, seen.reclaimed) == (0, 0)

    asyncio.run(main())


def test_second_return_takes_a_connection_from_nobody(make: Make) -> None:  # P3
    async def main() -> None:
        pool = make(pool={"min_size": 0, "max_size": 1})
        conn = await pool.get_connection()
        await pool.release(conn)
        borrowed, end = asyncio.Event(), asyncio.Event()

        async def borrow() -> None:
            again = await pool.get_connection()
            borrowed.set()
            await end.wait()
            await pool.release(again)

        task = asyncio.create_task(borrow())
        await borrowed.wait()
        await pool.release(conn)
        assert pool.managed.snapshot().used == 1
        end.set()
        await task
        assert (pool.managed.snapshot().used, pool.managed.snapshot().idle) == (0, 1)

    asyncio.run(main())


def test_many_tasks_share_few_connections_in_turn(make: Make) -> None:  # P3
    async def main() -> None:
        pool = make(pool={"min_size": 0, "max_size": 3})
        client = Client(connection_pool=pool)
        used: set[int] = set()

        async def work(number: int) -> None:
            async with client.pipeline() as pipe:
                await pipe.watch("counter")
                conn = pipe.connection
                assert id(conn) not in used
                used.add(id(conn))
                await asyncio.sleep(0)
                used.discard(id(conn))
            assert await client.echo(str(number)) == str(number).encode()

        await asyncio.gather(*(work(number) for number in range(200)))
        seen = pool.managed.snapshot()
        assert (seen.used, seen.idle, seen.reclaimed, seen.cleaned) == (0, 3, 0, 0)

    asyncio.run(main())


# -- cancelled --------------------------------------------------------------------------------------------------------


class Steps:
    """Lets a coroutine run until it awaits for the `number`th time, where its task is cancelled."""

    def __init__(self, coroutine: Coroutine[Any, Any, Any], number: int) -> None:
        self._coroutine, self._left = coroutine, number
        self.ended = False

    def __await__(self) -> Any:
        result: Any = None
        while True:
            try:
                awaited = self._coroutine.send(result)
            except StopIteration:
                self.ended = True
                return
            self._left -= 1
            if not self._left:
                asyncio.current_task().cancel()  # type: ignore[union-attr]
            try:
                result = yield awaited
            except BaseException as ex:
                with suppress(StopIteration):
                    # What it does as it is cancelled may await too.
                    awaited = self._coroutine.throw(ex)
                    while True:
                        result = yield awaited
                        awaited = self._coroutine.send(result)
                raise


async def _checkout_use_return(pool: AsyncManagedConnectionPool) -> None:
    conn = await pool.get_connection()
    try:
        await _by_words(conn, "PING")
    finally:
        await pool.release(conn)


async def _by_client(pool: AsyncManagedConnectionPool) -> None:
    client = Client(connection_pool=pool)
    await client.set("number", 1)
    async with client.pipeline() as pipe:
        await pipe.watch("number")
        pipe.multi()
        await pipe.incr("number").execute()
    async with client.pubsub() as subscription:
        await subscription.subscribe("news")
        await subscription.get_message(timeout=5)


@pytest.mark.parametrize("use", [_checkout_use_return, _by_client])
@pytest.mark.parametrize("begun", ["empty", "idle", "asked", "waiting"])
def test_cancelled_at_any_await_a_borrower_takes_nothing_along(  # P3 P4
    make: Make, redis_subject: Redis, use: Callable[..., Coroutine[Any, Any, None]], begun: str
) -> None:
    async def main(step: int) -> bool:
        pool = make(pool={"min_size": 0, "max_size": 1, "validation": "query" if begun == "asked" else "socket"})
        held = None
        if begun != "empty":
            held = await pool.get_connection()
            if begun != "waiting":
                await pool.release(held)
        steps = Steps(use(pool), step)

        async def borrow() -> None:
            await steps

        task = asyncio.create_task(borrow())
        if begun == "waiting":
            await asyncio.sleep(0)
            await pool.release(held)
        with suppress(asyncio.CancelledError):
            await task
        del task
        core = pool.managed
        await when(lambda: (core.snapshot().used, core.snapshot().pending) == (0, 0), "it to be given back")
        # Whoever comes next finds it as good as new.
        async with asyncio.timeout(5):
            assert await Client(connection_pool=pool).echo("mine") == b"mine"
        assert core.snapshot().reclaimed == 0
        await ends_but(redis_subject, 1)
        return steps.ended

    step = 1
    while not asyncio.run(main(step)):
        step += 1
    assert step > 1


def test_cancelled_with_a_connection_just_handed_over_it_goes_to_the_next(make: Make) -> None:  # P3 P4
    async def main() -> None:
        pool = make(pool={"min_size": 0, "max_size": 1})
        conn = await pool.get_connection()
        first, second = (asyncio.create_task(pool.get_connection()) for _ in range(2))
        await when(lambda: pool.managed.snapshot().pending == 2)
        await pool.release(conn)  # which hands it to the first
        first.cancel()
        assert await second is conn
        assert first.cancelled()
        await pool.release(conn)
        assert pool.managed.snapshot().idle == 1

    asyncio.run(main())


# -- loops ------------------------------------------------------------------------------------------------------------


def test_each_loop_has_connections_of_its_own(make: Make, redis_subject: Redis) -> None:  # P3
    pool = make(pool={"min_size": 0, "max_size": 2})
    client = Client(connection_pool=pool)
    others: list[int] = []

    async def other() -> None:
        others.append(await client.client_id())

    async def main() -> None:
        first = await client.client_id()
        await asyncio.to_thread(asyncio.run, other())
        assert others[0] != first
        assert await client.client_id() == first
        await ends_but(redis_subject, 1)

    asyncio.run(main())
    asyncio.run(other())
    assert others[1] != others[0]


def test_loop_that_ends_takes_its_pool_along(make: Make, redis_subject: Redis, recwarn: Any) -> None:  # P4 P6
    gc.collect()
    recwarn.clear()  # of what others have dropped
    pool = make(pool={"min_size": 2, "max_size": 4})
    cores: list[Any] = []

    async def main() -> None:
        cores.append(pool.managed)
        await pool.get_connection()
        asyncio.create_task(pool.get_connection()).add_done_callback(cores.append)
        await ends_but(redis_subject, 2)

    asyncio.run(main())
    until(lambda: not redis_subject.ends())
    until(lambda: cores[0].load().held == 0)
    assert cores[0].retired
    gc.collect()
    assert [str(each.message) for each in recwarn if issubclass(each.category, ResourceWarning)] == []


def test_connection_that_is_ready_when_its_loop_ends_is_closed_in_it(  # P4
    make: Make, redis_subject: Redis, recwarn: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    bind, close, connected = AsyncRedisDriver.bind, AsyncRedisDriver.close, threading.Event()

    def be_late(act: Callable[..., Any], *args: Any) -> Any:
        """As a thread of a busy machine."""
        connected.set()
        time.sleep(0.2)
        return act(*args)

    monkeypatch.setattr(AsyncRedisDriver, "bind", lambda *args: be_late(bind, *args))
    monkeypatch.setattr(AsyncRedisDriver, "close", lambda *args: be_late(close, *args))
    gc.collect()
    recwarn.clear()  # of what others have dropped
    pool = make(pool={"min_size": 0, "max_size": 1})

    async def main() -> None:
        waiting = asyncio.create_task(pool.get_connection())
        await when(connected.is_set, "a connect to be over")
        waiting.cancel()

    asyncio.run(main())
    until(lambda: not redis_subject.ends())
    gc.collect()
    assert [str(each.message) for each in recwarn if issubclass(each.category, ResourceWarning)] == []


def test_loop_that_is_closed_without_a_word_leaves_nothing_at_the_server(  # P4 P6
    make: Make, redis_subject: Redis, caplog: pytest.LogCaptureFixture
) -> None:
    pool, loop = make(pool={"min_size": 0, "max_size": 2}), asyncio.new_event_loop()
    kept = loop.run_until_complete(pool.get_connection())
    core = kept.slot.pool
    with caplog.at_level(logging.WARNING, "poolmgr.pool"):
        loop.close()
        until(lambda: not redis_subject.ends(), timeout=5)
    assert core.retired
    until(lambda: core.load().held == 0)
    assert "its event loop was closed with connections open" in caplog.text


def test_loop_that_stands_still_keeps_its_connections(make: Make) -> None:
    pool, loop = make(pool={"min_size": 1, "max_size": 2, "keepalive_interval": 0.1}), asyncio.new_event_loop()
    client = Client(connection_pool=pool)
    first = loop.run_until_complete(client.client_id())
    core = pool._loops.all()[0]
    began = core.history and threading.Event()
    began.wait(2.5)
    assert core.snapshot().idle == 1
    assert loop.run_until_complete(client.client_id()) == first
    loop.run_until_complete(loop.shutdown_asyncgens())
    loop.close()


def test_loop_that_serves_one_request_opens_one_connection_and_leaves_no_thread(make: Make) -> None:
    pool = make(pool={"min_size": 3, "max_size": 4})
    cores: list[Any] = []

    async def main() -> None:
        await Client(connection_pool=pool).ping()
        cores.append(pool.managed)

    before = threading.active_count()
    for _ in range(5):
        asyncio.run(main())
    assert sum(core.snapshot().created for core in cores) == 5
    until(lambda: threading.active_count() <= before + 1, "the threads of pools that are closed to end")


def test_loop_that_lives_on_is_filled_up_to_min_size(make: Make) -> None:
    async def main() -> None:
        pool = make(pool={"min_size": 3, "max_size": 4})
        await Client(connection_pool=pool).ping()
        await when(lambda: pool.managed.snapshot().idle == 3)

    asyncio.run(main())


def test_loop_that_was_busy_for_long_is_no_server_that_does_not_answer(make: Make) -> None:  # P9
    async def main() -> None:
        pool = make(pool={"min_size": 0, "max_size": 2, "connection_timeout": 0.4})
        client = Client(connection_pool=pool)
        core = pool.managed
        task = asyncio.create_task(client.ping())
        await asyncio.sleep(0)
        time.sleep(1.5)  # as code that computes
        with suppress(exceptions.CheckoutError):
            await task
        assert await client.ping()
        seen = core.snapshot()
        assert (seen.create_errors, seen.last_error) == (0, "")

    asyncio.run(main())


def test_recycle_in_the_loop_itself_is_refused_with_a_sentence(make: Make) -> None:
    async def main() -> None:
        pool = make(pool={"min_size": 0})
        await Client(connection_pool=pool).ping()
        with pytest.raises(RuntimeError, match=r"call it by asyncio\.to_thread"):
            pool.managed.recycle()
        assert (await asyncio.to_thread(pool.managed.recycle)).replaced == 1

    asyncio.run(main())


def test_port_answers_while_the_loop_is_busy(make: Make) -> None:
    pool = make(pool={"min_size": 0, "max_size": 2})
    busy, end = threading.Event(), threading.Event()

    async def main() -> None:
        await Client(connection_pool=pool).ping()
        busy.set()
        end.wait(20)  # the whole loop does

    thread = threading.Thread(target=asyncio.run, args=[main()])
    thread.start()
    busy.wait(20)
    core = pool._loops.all()[0]
    assert core.snapshot().idle == 1
    core.pause()
    assert core.paused
    core.resume()
    assert core.load() == (1, 0, 0)
    end.set()
    thread.join()


def test_no_loop_no_connection(make: Make) -> None:
    pool = make()
    with pytest.raises(RuntimeError, match="no running event loop"):
        pool.managed  # noqa: B018


def test_forked_child_has_no_part_in_its_parent_s_connections(make: Make, redis_subject: Redis) -> None:  # P3
    pool = make(pool={"min_size": 0, "max_size": 2})
    client = Client(connection_pool=pool)

    async def main() -> None:
        ours = await client.client_id()
        conn = await pool.get_connection()

        def child() -> Any:
            theirs = asyncio.run(client.client_id())
            gc.collect()
            return theirs

        assert in_child(child) != ours
        await _by_words(conn, "PING")
        await pool.release(conn)
        assert await client.client_id() == ours

    asyncio.run(main())


# -- targets ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def vectors(settings: Any, redis_subject: Redis) -> Iterator[str]:
    """A declared target's name."""
    declared = {"KIND": "redis", "URL": redis_subject.url, "POOL": {"min_size": 0, "max_size": 4}}
    settings.POOLMGR = {**settings.POOLMGR, "AGENT": False, "TARGETS": {"vectors": declared}}
    yield "vectors"
    settings.POOLMGR = {"AGENT": False}
    registry.set_desired({})


def test_loops_and_threads_are_one_target_to_those_who_manage_it(vectors: str, redis_subject: Redis) -> None:  # P5 P6
    async def main() -> None:
        pool = poolmgr.aio.pool(vectors)
        assert poolmgr.aio.pool(vectors) is pool
        held = [await pool.get_connection() for _ in range(2)]
        threads_ = poolmgr.pool(vectors)
        theirs = [threads_.get_connection() for _ in range(2)]
        target = registry.get(vectors)
        seen = target.snapshot()
        assert (seen.used, seen.max_size, seen.kind) == (4, 4, "redis")
        assert set(seen.backend_pids) == redis_subject.ends()
        spec = REDIS.make_spec({"min_size": 0, "max_size": 6, "connection_timeout": 0.5})
        registry.set_desired({vectors: Desired(spec, "profile 1", 2)})
        assert pool.managed.spec == spec
        held += [await pool.get_connection() for _ in range(2)]
        with pytest.raises(exceptions.PoolExhausted):
            await pool.get_connection()
        assert len(redis_subject.ends()) == 6
        for conn in theirs:
            threads_.release(conn)
        # What the threads need no more is the loop's.
        held += [await asyncio.wait_for(_patiently(pool), 10) for _ in range(1)]
        assert len(redis_subject.ends()) <= 6
        target.pause()
        assert pool.managed.paused
        target.resume()
        for conn in held:
            await pool.release(conn)
        done = await asyncio.to_thread(target.recycle, 10)
        assert done.failed == ""

    asyncio.run(main())
    target = registry.get(vectors)
    until(lambda: len(redis_subject.ends()) == target.load().held <= 2, "the loop's connections to go")
    registry.close(vectors)
    until(lambda: not redis_subject.ends())


async def _patiently(pool: AsyncManagedConnectionPool) -> Any:
    while True:
        with suppress(exceptions.PoolExhausted):
            return await pool.get_connection()


def test_loop_begins_anew_when_its_target_was_closed(vectors: str) -> None:
    async def main() -> None:
        client = Client(connection_pool=poolmgr.aio.pool(vectors))
        first = await client.client_id()
        await asyncio.to_thread(registry.close, vectors)
        assert await client.client_id() != first
        assert registry.get(vectors).load().held == 1

    asyncio.run(main())
    until(lambda: registry.get(vectors).load().held == 0)
    # Nobody uses it now, and it is a target all the same.
    assert registry.get(vectors).snapshot().address == address_of(vectors)
    registry.close(vectors)


def test_target_without_a_pool_for_loops_says_so(settings: Any) -> None:
    settings.POOLMGR = {"TARGETS": {"broker": {"KIND": "kombu", "APP": "tests.kinds.celery_work.app"}}}
    with pytest.raises(exceptions.ConfigurationError, match="'broker' has no pool for asyncio; targets of kind Celery"):
        poolmgr.aio.pool("broker")
    with pytest.raises(exceptions.ConfigurationError, match="'nowhere' is no target of this site"):
        poolmgr.aio.pool("nowhere")


# -- words ------------------------------------------------------------------------------------------------------------


def test_redis_py_s_own_words_are_settings(make: Make) -> None:
    async def main() -> None:
        pool = make(max_connections=1, timeout=0.2)
        assert pool.max_connections == 1
        conn = await pool.get_connection()
        assert not pool.can_get_connection()
        with pytest.raises(redis.exceptions.MaxConnectionsError, match=r"within 0\.2 s"):
            await pool.get_connection()
        pool.max_connections = 2
        other = await pool.get_connection()
        assert pool.owns_connection(other)
        await pool.release(conn)
        await pool.release(other)
        assert [number for number, _ in pool.get_connection_count()] == [2, 0]
        assert pool.managed.spec.max_size == 2

    asyncio.run(main())


def test_what_a_managed_pool_cannot_do_is_refused(make: Make) -> None:
    with pytest.raises(exceptions.InvalidSpec, match="max_sise: unknown setting"):
        make(pool={"max_sise": 3})
    with pytest.raises(exceptions.ConfigurationError, match=r"one of redis-py's connection classes in redis\.asyncio"):
        make(connection_class=redis.Connection)


def test_disconnect_closes_what_is_idle_and_breaks_off_what_is_used(make: Make, redis_subject: Redis) -> None:
    async def main() -> None:
        pool = make(pool={"min_size": 0, "max_size": 2})
        client = Client(connection_pool=pool)
        conn = await pool.get_connection()
        await client.ping()
        await pool.disconnect(inuse_connections=False)
        await ends_but(redis_subject, 1)
        await pool.disconnect()
        await ends_but(redis_subject, 0)
        await pool.release(conn)
        assert await client.ping()
        await pool.aclose()
        await ends_but(redis_subject, 0)
        assert await client.ping()

    asyncio.run(main())


def test_console_does_not_wait_for_an_exhausted_or_paused_pool(make: Make, redis_subject: Redis) -> None:  # P10
    async def main() -> None:
        pool = make(pool={"min_size": 0, "max_size": 1})
        client = Client(connection_pool=pool)
        with console_lane():
            assert await client.ping()
        assert pool._loops.now() is None
        conn = await pool.get_connection()
        with console_lane():
            assert await client.ping()
        await pool.release(conn)
        pool.managed.pause()
        with console_lane():
            assert await client.ping()
        await ends_but(redis_subject, 1)
        assert pool.managed.snapshot().checkouts == 1

    asyncio.run(main())


def test_console_waits_once_for_a_server_that_says_nothing(make: Make, redis_subject: Redis) -> None:  # P8 P10
    async def seconds_in_vain(client: Any) -> float:
        began = time.monotonic()
        with pytest.raises(redis.RedisError):
            await client.ping()
        return time.monotonic() - began

    async def main() -> None:
        pool = make(url=redis_subject.through_proxy, pool={"min_size": 0, "connection_timeout": 1})
        client = Client(connection_pool=pool)
        redis_subject.proxy.freeze()
        for _ in range(2):  # pieces of work, each of which asks for itself
            with console_lane():
                assert await seconds_in_vain(client) > 0.8
                assert sum([await seconds_in_vain(client) for _ in range(5)]) < 0.8
        await seconds_in_vain(client)
        await when(lambda: pool.managed.is_away(time.monotonic()), "the pool to know")
        with console_lane():
            assert await seconds_in_vain(client) < 0.8

    asyncio.run(main())
