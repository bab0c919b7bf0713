"""What is Redis's alone: what borrowers leave on a connection, redis-py's own words, RESP3, replies that nobody read."""

import threading
from collections.abc import Callable, Iterator
from time import monotonic
from typing import Any

import pytest
import redis

from poolmgr import exceptions
from poolmgr.pools import registry
from poolmgr.pools.lane import console_lane
from poolmgr.targets.redis.pool import ManagedConnectionPool
from tests.forking import in_child
from tests.kinds.subjects import Redis
from tests.waiting import until

Make = Callable[..., ManagedConnectionPool]


@pytest.fixture
def make(redis_subject: Redis) -> Iterator[Make]:
    """make(**arguments): a pool of redis-py's own words on the subject's server."""
    made: list[ManagedConnectionPool] = []

    def one(**arguments: Any) -> ManagedConnectionPool:
        made.append(ManagedConnectionPool.from_url(arguments.pop("url", redis_subject.url), **arguments))
        return made[-1]

    yield one
    for pool in made:
        pool.close()


def _by_words(conn: Any, *words: Any) -> None:
    conn.send_command(*words)
    conn.read_response(push_request=True)


def _packed(conn: Any, *words: Any) -> None:
    conn.send_packed_command(conn.pack_command(*words))
    conn.read_response(push_request=True)


def _in_a_batch(conn: Any, *words: Any) -> None:
    conn.send_packed_command(conn.pack_commands([("PING",), words]))
    conn.read_response()
    conn.read_response(push_request=True)


LEFT = [
    ("SELECT", "5"),
    (b"select", 5),
    ("MULTI",),
    ("WATCH", "a"),
    ("CLIENT SETNAME", "somebody"),
    ("CLIENT", "TRACKING", "on"),
    ("SUBSCRIBE", "channel"),
    ("AUTH", "visitor", "visitor"),
    ("HELLO", "2"),
    ("RESET",),
]


@pytest.mark.parametrize("send", [_by_words, _packed, _in_a_batch])
@pytest.mark.parametrize("words", LEFT, ids=str)
def test_connection_that_is_not_as_it_was_connected_is_never_handed_on(  # P2
    redis_subject: Redis, words: tuple[Any, ...], send: Callable[..., None]
) -> None:
    redis_subject.admin.execute_command("ACL", "SETUSER", "visitor", "on", ">visitor", "+@all", "~*", "&*")
    subject = redis_subject.open(max_size=1)
    with subject.borrowed() as conn:
        first = subject.use(conn)
        send(conn, *words)
    with subject.borrowed() as conn:
        assert subject.use(conn) != first
    until(lambda: len(subject.ends()) == 1)
    assert subject.pool.snapshot().cleaned == 1


@pytest.mark.parametrize("how", ["OFF", "SKIP"])
def test_connection_that_is_told_not_to_answer_is_never_handed_on(redis_subject: Redis, how: str) -> None:  # P2
    subject = redis_subject.open(max_size=1)
    with subject.borrowed() as conn:
        conn.send_command("CLIENT", "REPLY", how)
    with subject.borrowed() as conn:
        assert subject.use(conn)
    assert subject.pool.snapshot().cleaned == 1


@pytest.mark.parametrize(
    "lines",
    [
        [("MULTI",), ("EXEC",)],
        [("MULTI",), ("DISCARD",)],
        [("WATCH", "a"), ("UNWATCH",)],
        [("WATCH", "a"), ("MULTI",), ("EXEC",)],
        [("SELECT", 5), ("SELECT", 7)],
        [("CLIENT", "LIST"), ("CLIENT", "GETNAME")],
        [("SET", "select", "1"), ("GET", "multi")],
    ],
    ids=str,
)
def test_connection_that_is_as_it_was_connected_stays(redis_subject: Redis, lines: list[tuple[Any, ...]]) -> None:
    subject = redis_subject.open(max_size=1)
    with subject.borrowed() as conn:
        first = subject.use(conn)
        for words in lines:
            _by_words(conn, *words)
    with subject.borrowed() as conn:
        assert subject.use(conn) == first
    assert subject.pool.snapshot().cleaned == 0


def test_reply_that_nobody_read_reaches_nobody_else(redis_subject: Redis) -> None:  # P2 P3
    subject = redis_subject.open(max_size=1)
    with subject.borrowed() as conn:
        conn.send_command("ECHO", "mine")
    with subject.borrowed() as conn:
        conn.send_command("ECHO", "yours")
        assert conn.read_response() == b"yours"
    assert subject.pool.snapshot().cleaned == 1


def test_reply_to_what_was_said_on_a_connection_that_connected_again_reaches_nobody_else(
    redis_subject: Redis,
) -> None:  # P2 P3
    subject = redis_subject.open(max_size=1)
    with subject.borrowed() as conn:
        conn.disconnect()
        conn.send_command("BLPOP", "nothing-there", "0.2")
    with subject.borrowed() as conn:
        conn.send_command("ECHO", "yours")
        assert conn.read_response() == b"yours"


def test_reply_that_was_read_ahead_reaches_nobody_else(redis_subject: Redis) -> None:  # P2 P3
    subject = redis_subject.open(max_size=1)
    with subject.borrowed() as conn:
        conn.send_packed_command(conn.pack_commands([("ECHO", "first"), ("ECHO", "second")]))
        assert conn.can_read(5)
        assert conn.read_response() == b"first"
    with subject.borrowed() as conn:
        conn.send_command("ECHO", "yours")
        assert conn.read_response() == b"yours"


def test_clients_leave_nothing_behind_and_keep_their_connection(make: Make, redis_subject: Redis) -> None:  # P2
    pool = make(pool={"min_size": 0, "max_size": 1})
    client = redis.Redis(connection_pool=pool)
    first = client.client_id()
    client.set("number", 1)
    with client.pipeline() as pipe:
        assert pipe.incr("number").get("number").execute() == [2, b"2"]
    with client.pipeline() as pipe:
        pipe.watch("number")
        pipe.multi()
        assert pipe.incr("number").execute() == [3]
    with client.pipeline() as pipe:
        pipe.watch("number")
    assert client.transaction(lambda pipe: pipe.multi() or pipe.get("number"), "number") == [b"3"]
    with client.lock("lock"):
        pass
    with pytest.raises(redis.ResponseError):
        client.lpush("number", 1)
    assert list(client.scan_iter("num*")) == [b"number"]
    assert client.client_id() == first
    assert pool.managed.snapshot().cleaned == 0


def test_subscription_takes_its_connection_along_when_it_ends(make: Make, redis_subject: Redis) -> None:  # P2 P6
    pool = make(pool={"min_size": 0, "max_size": 2})
    client = redis.Redis(connection_pool=pool)
    with client.pubsub() as subscription:
        subscription.subscribe("news")
        until(lambda: subscription.get_message(timeout=0.1))
        client.publish("news", "hello")
        assert until(lambda: subscription.get_message(timeout=0.1))["data"] == b"hello"
        assert pool.managed.snapshot().used == 1
    assert client.ping()
    until(lambda: len(redis_subject.ends()) == 1)
    assert pool.managed.snapshot().used == 0


def test_what_the_site_asks_for_at_the_connect_stays(make: Make) -> None:
    pool = make(pool={"min_size": 0, "max_size": 1}, client_name="the-site")
    client = redis.Redis(connection_pool=pool)
    assert client.client_getname() in (b"the-site", "the-site")
    first = client.client_id()
    assert client.client_id() == first


def test_message_that_the_server_sends_unasked_is_no_sign_of_death(redis_subject: Redis, make: Make) -> None:  # P7
    def track(conn: Any) -> None:
        conn.on_connect()
        _by_words(conn, "CLIENT", "TRACKING", "on", "BCAST")

    pool = make(pool={"min_size": 0, "max_size": 1}, protocol=3, redis_connect_func=track)
    client = redis.Redis(connection_pool=pool)
    first = client.client_id()
    other = redis.Redis.from_url(redis_subject.url, protocol=2)
    other.set("watched", "1")
    other.close()
    slot = pool.managed.idle[-1]
    until(lambda: slot.has_news(0))
    assert client.client_id() == first
    assert client.get("watched") == b"1"
    assert pool.managed.snapshot().found_dead == 0


def test_borrower_that_connects_again_in_place_is_followed(make: Make, redis_subject: Redis) -> None:  # P6
    pool = make(pool={"min_size": 0, "max_size": 1})
    conn = pool.get_connection()
    first = redis_subject.use(conn)
    conn.disconnect()
    second = redis_subject.use(conn)
    assert second != first
    assert redis_subject.ends() == {second}
    seen = pool.managed.snapshot()
    assert (seen.holders[0].backend_pid, seen.created, seen.closed) == (second, 2, 1)
    pool.release(conn)
    redis_subject.kill()
    conn = pool.get_connection()
    assert redis_subject.use(conn) not in (first, second)
    pool.release(conn)


def test_connection_that_was_taken_back_connects_no_more(redis_subject: Redis) -> None:  # P3 P6
    subject = redis_subject.open(max_size=1)
    kept: list[Any] = []
    thread = threading.Thread(target=lambda: kept.append(subject.borrow()))
    thread.start()
    thread.join()
    with subject.borrowed() as conn:
        subject.use(conn)
        with pytest.raises(redis.ConnectionError, match="taken this connection back"):
            subject.use(kept[0])
        assert len(subject.ends()) == 1


def test_connection_of_another_pool_is_not_taken(make: Make) -> None:  # P3
    one, other = make(pool={"min_size": 0}), make(pool={"min_size": 0})
    conn = one.get_connection()
    other.release(conn)
    assert one.managed.snapshot().used == 1
    assert other.managed.snapshot().size == 0
    assert not other.owns_connection(conn)
    assert one.owns_connection(conn)
    one.release(conn)


def test_validation_query_may_only_be_ping(make: Make) -> None:
    with pytest.raises(exceptions.InvalidSpec, match="validation_query: 'GET x' is not PING"):
        make(pool={"validation_query": "GET x"})
    with pytest.raises(exceptions.InvalidSpec, match="pool_mode: A Redis connection goes back after each command"):
        make(pool={"pool_mode": "transaction"})


def test_redis_py_s_own_words_are_settings(make: Make) -> None:
    pool = make(max_connections=1, timeout=0.2)
    assert pool.max_connections == 1
    conn = pool.get_connection()
    with pytest.raises(redis.exceptions.MaxConnectionsError, match=r"within 0\.2 s"):
        pool.get_connection()
    pool.max_connections = 2
    other = pool.get_connection()
    pool.release(conn)
    pool.release(other)
    assert pool.managed.spec.max_size == 2
    assert [number for number, _ in pool.get_connection_count()] == [2, 0]


def test_unknown_setting_and_client_side_cache_are_refused(make: Make) -> None:
    with pytest.raises(exceptions.InvalidSpec, match="max_sise: unknown setting"):
        make(pool={"max_sise": 3})
    with pytest.raises(exceptions.ConfigurationError, match="keeps no client-side cache"):
        make(cache_config=object())


def test_reset_of_a_live_pool_loses_nothing(make: Make, redis_subject: Redis) -> None:
    pool = make(pool={"min_size": 0, "max_size": 2})
    conn = pool.get_connection()
    first = redis_subject.use(conn)
    pool.reset()
    assert redis_subject.use(conn) == first
    pool.release(conn)
    assert redis_subject.ends() == {first}
    assert pool.managed.snapshot().idle == 1


def test_disconnect_closes_what_is_idle_and_breaks_off_what_is_used(make: Make, redis_subject: Redis) -> None:
    pool = make(pool={"min_size": 0, "max_size": 2})
    client = redis.Redis(connection_pool=pool)
    conn = pool.get_connection()
    client.ping()
    pool.disconnect(inuse_connections=False)
    until(lambda: len(redis_subject.ends()) == 1)
    pool.disconnect()
    until(lambda: not redis_subject.ends())
    pool.release(conn)
    assert client.ping()


def test_closed_pool_begins_anew_when_it_is_used_again(make: Make, redis_subject: Redis) -> None:
    pool = make(pool={"min_size": 0})
    client = redis.Redis(connection_pool=pool)
    client.ping()
    pool.close()
    until(lambda: not redis_subject.ends())
    assert client.ping()


def test_marked_for_reconnect_is_replaced_as_it_returns(make: Make, redis_subject: Redis) -> None:
    pool = make(pool={"min_size": 0, "max_size": 1})
    conn = pool.get_connection()
    first = redis_subject.use(conn)
    pool.update_active_connections_for_reconnect()
    assert redis_subject.use(conn) == first
    pool.release(conn)
    conn = pool.get_connection()
    assert redis_subject.use(conn) != first
    pool.release(conn)


def test_console_does_not_wait_for_an_exhausted_or_paused_pool(make: Make, redis_subject: Redis) -> None:  # P10
    pool = make(pool={"min_size": 0, "max_size": 1, "connection_timeout": 5})
    client = redis.Redis(connection_pool=pool)
    conn = pool.get_connection()
    with console_lane():
        assert client.ping()
    pool.release(conn)
    pool.managed.pause()
    with console_lane():
        assert client.ping()
    until(lambda: len(redis_subject.ends()) == 1)
    assert pool.managed.snapshot().checkouts == 1


def test_console_makes_no_pool_where_there_is_none(make: Make, redis_subject: Redis) -> None:  # P10
    client = redis.Redis(connection_pool=make(target="console", pool={"min_size": 1}))
    with console_lane():
        assert client.ping()
    until(lambda: redis_subject.ends() == set(), "its connection to end")
    assert registry.get("console") is None


def test_forked_child_works_on_connections_of_its_own(make: Make, redis_subject: Redis) -> None:  # P3
    pool = make(pool={"min_size": 0, "max_size": 2})
    client = redis.Redis(connection_pool=pool)
    client.ping()
    conn = pool.get_connection()
    ends = redis_subject.ends()

    def child() -> Any:
        pool.release(conn)
        return client.client_id()

    assert in_child(child) not in ends
    assert redis_subject.use(conn) in ends
    pool.release(conn)
    assert client.client_id() in ends


@pytest.mark.parametrize("target", ["", "test:forked"])
def test_forked_child_need_not_wait_for_what_its_parent_holds(
    make: Make, redis_subject: Redis, target: str
) -> None:  # P3
    pool = make(target=target, pool={"min_size": 0, "max_size": 1, "connection_timeout": 2})
    conn = pool.get_connection()

    def child() -> None:
        pool.release(pool.get_connection())
        pool.disconnect()

    try:
        in_child(child)
        assert redis_subject.use(conn)
        pool.release(conn)
    finally:
        registry.close(target)


def test_server_that_was_away_for_long_costs_no_more_time(redis_subject: Redis) -> None:  # P8 P9
    redis_subject.proxy.refuse()
    subject = redis_subject.open(redis_subject.through_proxy, connection_timeout=0.5)
    with pytest.raises(exceptions.ServerDown, match=r"within 0\.5 s"):
        subject.borrow()
    subject.change(connection_timeout=0.6)
    until(lambda: _is_refused_at_once(subject))
    subject.proxy.accept()
    until(lambda: not _is_refused_at_once(subject), timeout=5)
    with subject.borrowed() as conn:
        assert subject.use(conn)


@pytest.mark.long
def test_server_that_is_away_still_costs_who_comes_after_a_while_one_try(redis_subject: Redis) -> None:  # P8 P9
    redis_subject.proxy.refuse()
    subject = redis_subject.open(redis_subject.through_proxy, connection_timeout=1)
    with pytest.raises(exceptions.ServerDown):
        subject.borrow()
    began = monotonic()
    until(lambda: monotonic() - began > 3.5)
    # By now the try is over, too, that was under way when the first request gave up.
    tries, began = subject.pool.snapshot().create_errors, monotonic()
    with pytest.raises(exceptions.ServerDown) as caught:
        subject.borrow()
    assert "within" not in str(caught.value)
    assert monotonic() - began < 1
    assert subject.pool.snapshot().create_errors == tries + 1


def _is_refused_at_once(subject: Redis) -> bool:
    try:
        with subject.borrowed():
            return False
    except exceptions.ServerDown as ex:
        return "within" not in str(ex)


def test_server_that_accepts_and_says_nothing_costs_no_more_than_the_timeout(redis_subject: Redis) -> None:  # P8 P9
    redis_subject.proxy.freeze()
    redis_subject.open(redis_subject.through_proxy, connection_timeout=0.5)
    with pytest.raises(exceptions.ServerDown, match="does not answer"):
        redis_subject.borrow()
    until(lambda: redis_subject.pool.snapshot().create_errors, timeout=5)


def test_restart_of_the_server_costs_no_command(make_redis: Callable[[], Any]) -> None:  # P7
    server = make_redis()
    pool = ManagedConnectionPool.from_url(server.url(), pool={"min_size": 0, "max_size": 3})
    client = redis.Redis(connection_pool=pool)
    held = [pool.get_connection() for _ in range(3)]
    for conn in held:
        pool.release(conn)
    server.restart()
    assert client.ping()
    until(lambda: pool.managed.snapshot().size == 1)
    pool.close()


def test_what_somebody_borrows_meanwhile_is_not_disconnected_as_idle(make: Make, redis_subject: Redis) -> None:  # P3
    pool = make(pool={"min_size": 0, "max_size": 3})
    both = [pool.get_connection(), pool.get_connection()]
    for conn in both:
        pool.release(conn)
    disconnect, borrowed, ids = both[0].disconnect, [], []

    def borrow_first(*args: Any) -> None:
        both[0].disconnect = disconnect
        borrowed.append(pool.get_connection())
        ids.append(redis_subject.use(borrowed[0]))
        disconnect(*args)

    both[0].disconnect = borrow_first
    # As a cluster's client does when a node has moved.
    pool.disconnect_free_connections()
    until(lambda: ids)
    assert redis_subject.use(borrowed[0]) == ids[0]
    pool.release(borrowed[0])
