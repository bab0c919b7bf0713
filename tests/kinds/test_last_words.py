"""asyncpg's connections whose server has said that it ends them, and has not hung up yet: the loop has read of it."""

import asyncio
import ssl
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest
import sqlalchemy
import uvloop

from poolmgr.targets.asyncpg.arguments import of_url
from poolmgr.targets.asyncpg.making import Maker
from poolmgr.targets.asyncpg.pool import AsyncpgPool
from poolmgr.targets.sqlalchemy import create_async_engine
from poolsite.demo.servers import EmbeddedPostgres
from tests import pools
from tests.proxy import Proxy
from tests.sampling import first_always
from tests.tls import Authority, TlsFront
from tests.waiting import until, when

PID = "SELECT pg_backend_pid()"
SETTINGS = {"max_size": 1, "connection_timeout": 5.0}
LOOPS: dict[str, Any] = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}
Ask = Callable[[str], Any]


def _asyncpg(url: str, tls: Any) -> tuple[Ask, Any]:
    pool = AsyncpgPool(Maker(of_url(url, {"ssl": tls})), pool=SETTINGS)
    return pool.fetchval, lambda: pool.managed.snapshot()


def _sqlalchemy(url: str, tls: Any) -> tuple[Ask, Any]:
    theirs = url.replace("postgresql://", "postgresql+asyncpg://")
    engine = create_async_engine("", theirs, connect_args={"ssl": tls}, pool=SETTINGS)

    async def ask(query: str) -> Any:
        async with engine.connect() as conn:
            return await conn.scalar(sqlalchemy.text(query))

    return ask, lambda: engine.pool.managed.snapshot()


KINDS = {"asyncpg": _asyncpg, "sqlalchemy": _sqlalchemy}


@pytest.fixture
def url(postgres: EmbeddedPostgres) -> str:
    return str(postgres.create_database("kinds"))


@pytest.fixture
def plain(postgres: EmbeddedPostgres) -> Iterator[tuple[int, Any]]:
    """The port of a proxy that keeps the server's end to itself, and what asyncpg's `ssl` is to be."""
    proxy = Proxy(postgres.port)
    proxy.keeps_ends = True
    yield proxy.port, False
    proxy.close()


@pytest.fixture
def tls(plain: tuple[int, Any], tmp_path: Any) -> Iterator[tuple[int, Any]]:
    """The same behind what speaks TLS."""
    authority = Authority(tmp_path)
    front = TlsFront(plain[0], authority.server_side("127.0.0.1"), asked=True)
    yield front.port, ssl.create_default_context(cafile=str(authority.file))
    front.close()


@pytest.mark.parametrize(
    ("kind", "loop", "by"),
    first_always(
        *((kind, "asyncio", "plain") for kind in KINDS),
        *(
            (kind, loop, by)
            for kind in KINDS
            for loop, by in (("uvloop", "plain"), ("asyncio", "tls"), ("uvloop", "tls"))
        ),
    ),
)
def test_server_that_said_its_last_and_has_not_hung_up_costs_no_borrower_an_error(  # P7 P9
    url: str, kind: str, loop: str, by: str, request: pytest.FixtureRequest
) -> None:
    port, its_tls = request.getfixturevalue(by)
    ask, snapshot = KINDS[kind](url.replace(f":{urlsplit(url).port}/", f":{port}/"), its_tls)

    async def main(look: Any) -> None:
        for _ in range(3):
            first = await ask(PID)
            look.execute("SELECT pg_terminate_backend(%s)", [first])
            await when(lambda gone=first: gone not in pools.backends(url))
            await asyncio.sleep(0.05)  # the loop reads of it
            assert await ask(PID) != first
        seen = snapshot()
        assert (seen.created, seen.found_dead) == (4, 3)

    with (
        psycopg.connect(url, autocommit=True, application_name=pools.ONLOOKER) as look,
        asyncio.Runner(loop_factory=LOOPS[loop]) as runner,
    ):
        runner.run(main(look))
    until(lambda: not pools.backends(url), "the connections of loops that ended to go")


@pytest.mark.long
@pytest.mark.parametrize("kind", KINDS)
def test_answers_that_quote_a_server_s_last_words_cost_no_connection(url: str, kind: str) -> None:  # P7
    ask, snapshot = KINDS[kind](url, False)
    quoted = b"E\0\0\0\x70SFATAL\0VFATAL\0C57P01\0"

    async def main() -> None:
        for length in (1, 5_000, 200_000):
            query = f"SELECT repeat(' ', {length})::bytea || '\\x{quoted.hex()}'::bytea"
            for _ in range(3):
                assert (await ask(query)).endswith(quoted)
        seen = snapshot()
        assert (seen.created, seen.found_dead) == (1, 0)

    asyncio.run(main())


@pytest.mark.long
@pytest.mark.parametrize("kind", KINDS)
def test_notice_on_an_idle_connection_is_no_end(postgres: EmbeddedPostgres, url: str, kind: str) -> None:  # P7
    ask, snapshot = KINDS[kind](url, False)

    async def main(console: Any) -> None:
        first = await ask(PID)
        # What the server tells its clients of by itself, whatever they are at.
        console.execute("ALTER SYSTEM SET DateStyle = 'German'")
        console.execute("SELECT pg_reload_conf()")
        await asyncio.sleep(0.3)
        assert await ask(PID) == first
        assert await ask("SHOW DateStyle") == "German, DMY"
        assert snapshot().found_dead == 0

    with psycopg.connect(postgres.superuser_url(), autocommit=True, application_name=pools.ONLOOKER) as console:
        try:
            asyncio.run(main(console))
        finally:
            console.execute("ALTER SYSTEM RESET DateStyle")
            console.execute("SELECT pg_reload_conf()")
