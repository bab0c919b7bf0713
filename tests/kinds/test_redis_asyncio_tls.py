"""redis.asyncio over TLS: what `test_redis_tls.py` asks of the threads' pool, and what a loop reads ahead."""

import asyncio
import time
from collections.abc import Iterator
from typing import Any

import pytest
import redis.asyncio

from poolmgr import exceptions
from poolmgr.targets.redis.asyncio import AsyncManagedConnectionPool
from poolsite.demo.redis import EmbeddedRedis
from tests.kinds.async_subjects import AsyncRedis
from tests.kinds.subjects import DATABASE
from tests.kinds.test_redis_tls import (  # noqa: F401 - its fixtures, and tests that know no library
    Front,
    authority,
    front,
    no_agent,
    test_places_are_free_when_the_server_has_closed_its_end,
    test_recycle_and_validation_by_query_work,
    test_what_the_server_closed_is_never_handed_out,
    untrusted,
)
from tests.waiting import until


class AsyncTlsRedis(AsyncRedis):
    url_by_tls: str

    def _open(self, url: str, settings: dict[str, Any]) -> None:
        super()._open(self.url_by_tls, settings)


@pytest.fixture
def subject(redis_server: EmbeddedRedis, front: Front) -> Iterator[AsyncTlsRedis]:  # noqa: F811
    made = AsyncTlsRedis(redis_server.url(DATABASE))
    made.url_by_tls = front()
    yield made
    made.close()


def test_a_clean_return_is_used_again(subject: AsyncTlsRedis) -> None:
    subject.open(max_size=2)
    used = set()
    for _ in range(20):
        with subject.borrowed() as conn:
            assert conn._writer.get_extra_info("ssl_object") is not None
            used.add(subject.use(conn))
    assert len(used) == 1
    seen = subject.pool.snapshot()
    assert (seen.created, seen.cleaned, seen.found_dead) == (1, 0, 0)


def test_what_the_server_says_unasked_is_no_sign_of_death(subject: AsyncTlsRedis) -> None:  # P7
    subject.url_by_tls += "&protocol=3"
    subject.open(max_size=1, validate_after_idle=0)
    with subject.borrowed() as conn:
        first = subject.use(conn)

        async def track() -> None:
            await conn.send_command("CLIENT", "TRACKING", "ON", "BCAST")
            await conn.read_response()

        subject.loop.do(track)
        # As if the site itself had asked for it at the connect.
        conn.traffic.left.clear()
    subject.admin.set("anything", time.time())
    until(lambda: subject.pool.idle[0].has_news(0), "the message to arrive")
    with subject.borrowed() as conn:
        assert subject.use(conn) == first
    assert subject.pool.snapshot().found_dead == 0


def test_a_reply_that_nobody_read_reaches_nobody(subject: AsyncTlsRedis) -> None:  # P2
    subject.open(max_size=1)
    with subject.borrowed() as conn:
        subject.loop.do(lambda: conn.send_command("ECHO", "a secret"))
    with subject.borrowed() as conn:
        assert subject.use(conn)
    assert subject.pool.snapshot().cleaned == 1


def test_a_server_that_can_not_be_trusted_is_told_by_a_sentence(untrusted: tuple[str, str]) -> None:  # P9  # noqa: F811
    url, sentence = untrusted

    async def main() -> None:
        pool = AsyncManagedConnectionPool.from_url(url, pool={"min_size": 0, "connection_timeout": 1})
        with pytest.raises(exceptions.ServerDown, match=sentence) as caught:
            await redis.asyncio.Redis(connection_pool=pool).ping()
        assert isinstance(caught.value, redis.ConnectionError)

    asyncio.run(main())
