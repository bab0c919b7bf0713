"""asyncpg over TLS, with certificates that are verified and passwords by SCRAM."""

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from poolmgr import exceptions
from poolmgr.targets.asyncpg.arguments import of_url
from poolmgr.targets.asyncpg.making import Maker
from poolmgr.targets.asyncpg.pool import AsyncpgPool
from poolsite.demo.servers import EmbeddedPostgres
from tests import pools
from tests.kinds.async_subjects import Asyncpg
from tests.kinds.test_redis_tls import (  # noqa: F401 - its fixtures, and tests that know no library
    authority,
    test_places_are_free_when_the_server_has_closed_its_end,
    test_recycle_and_validation_by_query_work,
    test_what_the_server_closed_is_never_handed_out,
    untrusted,
)
from tests.tls import Authority, TlsFront
from tests.waiting import until, when

pytestmark = pytest.mark.long

Front = Callable[..., str]


class AsyncpgByTls(Asyncpg):
    """The kind's subject, whose pool goes through the front."""

    url_by_tls: str

    def _open(self, url: str, settings: dict[str, Any]) -> None:
        super()._open(self.url_by_tls, settings)


@pytest.fixture
def front(postgres: EmbeddedPostgres, authority: Authority) -> Iterator[Front]:  # noqa: F811
    """front(): the URL of a database behind TLS, with the authority's file in it."""
    made: list[TlsFront] = []
    url = str(postgres.create_database("kinds"))

    def one(*names: str, expired: bool = False, trusted: Path | None = None) -> str:
        context = authority.server_side(*(names or ("127.0.0.1",)), expired=expired)
        made.append(TlsFront(postgres.port, context, asked=True))
        words = {"sslmode": "verify-full", "sslrootcert": trusted or authority.file}
        behind = url.replace(f":{postgres.port}/", f":{made[-1].port}/")
        return f"{behind}?" + "&".join(f"{name}={value}" for name, value in words.items())

    yield one
    for each in made:
        each.close()


@pytest.fixture
def subject(postgres: EmbeddedPostgres, front: Front) -> Iterator[AsyncpgByTls]:
    made = AsyncpgByTls(pools.emptied(str(postgres.create_database("kinds"))))
    made.url_by_tls = front()
    yield made
    made.close()


def test_clean_return_is_used_again_and_what_was_left_is_wiped(
    subject: AsyncpgByTls, postgres: EmbeddedPostgres
) -> None:  # P2
    with psycopg.connect(postgres.superuser_url()) as console:
        asked = console.execute("SELECT DISTINCT auth_method FROM pg_hba_file_rules WHERE type = 'host'").fetchall()
    assert asked == [("scram-sha-256",)]
    subject.open(max_size=2)
    used = set()
    for _ in range(20):
        with subject.borrowed() as conn:
            assert conn._con._transport.get_extra_info("ssl_object") is not None
            used.add(subject.use(conn))
    with subject.borrowed() as conn:
        subject.loop.do(lambda: conn.execute("SET work_mem = '77MB'"))
    with subject.borrowed() as conn:
        assert subject.loop.do(lambda: conn.fetchval("SHOW work_mem")) != "77MB"
        used.add(subject.use(conn))
    assert len(used) == 1
    seen = subject.pool.snapshot()
    assert (seen.created, seen.cleaned, seen.found_dead) == (1, 1, 0)


def test_what_runs_is_stopped_by_whoever_gives_it_up(subject: AsyncpgByTls) -> None:  # P4 P6
    pool = AsyncpgPool(Maker(of_url(subject.url_by_tls, {})), pool={"max_size": 1})

    async def main() -> None:
        first = await pool.fetchval("SELECT pg_backend_pid()")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await pool.execute("SELECT pg_sleep(60)")
        assert await pool.fetchval("SELECT pg_backend_pid()") == first
        conn = await pool.acquire()
        running = asyncio.ensure_future(conn.execute("SELECT pg_sleep(60)"))
        await when(lambda: [row[1] for row in subject.told(subject.ends())] == ["active"])
        await pool.release(conn)
        await asyncio.wait([running])
        assert await pool.fetchval("SELECT pg_backend_pid()") != first

    asyncio.run(main())
    until(lambda: not subject.ends())


def test_server_that_can_not_be_trusted_is_told_by_a_sentence(untrusted: tuple[str, str]) -> None:  # P9  # noqa: F811
    url, sentence = untrusted
    pool = AsyncpgPool(Maker(of_url(url, {})), pool={"connection_timeout": 1})
    with pytest.raises(exceptions.ServerDown, match=sentence):
        asyncio.run(_one(pool))


async def _one(pool: AsyncpgPool) -> Any:
    return await pool.fetchval("SELECT 1")
