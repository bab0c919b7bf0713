"""A chunk by asyncpg and pgvector: on a connection of a pool's, and on one that is made for it."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from time import perf_counter
from typing import Any, NamedTuple

import asyncpg
from django.core.management import call_command
from pgvector.asyncpg import register_vector

from benchmarks.report import Measurement, Target, in_rounds, median, percentile
from benchmarks.search import QUESTIONS, SIZE
from benchmarks.tls import TlsFront, TlsPostgres, find_programs
from poolmgr.targets.asyncpg.arguments import of_url
from poolmgr.targets.asyncpg.making import Maker
from poolmgr.targets.asyncpg.pool import AsyncpgPool
from poolsite.docsearch.embedding import embed

CHUNK = "SELECT text FROM docsearch_document ORDER BY embedding <=> $1 LIMIT 1"
PLAIN = "SELECT count(*) FROM pg_class"
OURS, THEIRS, CONNECT = "**poolmgr**", "asyncpg's own pool", "connecting per request"
COLUMNS = ["", "checkout p50", "p99", "request p50", "p99", "to connecting"]

Borrow = Callable[[], AbstractAsyncContextManager[Any]]


class _Place(NamedTuple):
    """A server, what is asked there, with which arguments, and how a connection is made."""

    where: str
    query: str
    asked: list[tuple[Any, ...]]
    connecting: dict[str, Any]

    @property
    def vectors(self) -> bool:
        return self.query is CHUNK


def measure(world: Any) -> Measurement:
    call_command("load_documents", verbosity=0)
    vectors = [(vector,) for vector in embed(list(QUESTIONS))]
    rounds, times = (3, 20) if world.quick else (15, 40)
    report = Measurement(
        "Retrieval of a chunk by asyncpg",
        "The nearest of the demo's documents (pgvector, HNSW), one request after the other in one event loop,"
        f" {rounds * times} of each, statements prepared where the connection stays. Milliseconds. *Checkout*: from asking"
        " for a connection to having it. *To connecting*: the median whole request, of the one that connects and has asyncpg"
        " learn pgvector's types, as each new connection must.",
        COLUMNS,
    )
    _measure(report, _Place("over TCP without TLS", CHUNK, vectors, {"dsn": world.url}), rounds, times)
    _measure_tls(world, report, vectors, rounds, times)
    return report


def _measure_tls(world: Any, report: Measurement, vectors: list[Any], rounds: int, times: int) -> None:
    if shutil.which("openssl") is None:
        report.notes.append("Over TLS: not measured, since this machine has no openssl to make a certificate.")
        return
    front = TlsFront(world.postgres.port, world.directory / "front")
    try:
        over = {"dsn": world.url.replace(f":{world.postgres.port}/", f":{front.port}/"), "ssl": "require"}
        place = _Place("over TLS with SCRAM", CHUNK, vectors, {**over, "direct_tls": True})
        _measure(report, place, rounds, times)
    finally:
        front.stop()
    report.notes.append(
        "Over TLS: the wheel's server speaks none, so that a process before it does, which costs every round trip of each of"
        " them the same."
    )
    if (programs := find_programs()) is None:
        return
    server = TlsPostgres(programs, world.directory / "tls-asyncpg")
    try:
        place = _Place("over a server's own TLS, a plain query", PLAIN, [()], {"dsn": server.url, "ssl": "require"})
        _measure(report, place, rounds, times)
        report.notes.append(
            f"A server's own TLS: {server.about()}. It has no pgvector, so that a small table is counted there."
        )
    finally:
        server.stop()


def _measure(report: Measurement, place: _Place, rounds: int, times: int) -> None:
    with asyncio.Runner() as runner:
        ours, theirs = runner.run(_pools(place))
        borrow: dict[str, Borrow] = {CONNECT: lambda: _connection(place), THEIRS: theirs.acquire, OURS: ours.acquire}
        found = in_rounds(list(borrow.values()), rounds, lambda each: runner.run(_requests(each, place, times)))
        for pool in (ours, theirs):
            runner.run(pool.close())
    _add(report, place.where, dict(zip(borrow, found, strict=True)))


async def _pools(place: _Place) -> tuple[AsyncpgPool, Any]:
    given = {name: value for name, value in place.connecting.items() if name != "dsn"}
    maker = Maker(of_url(place.connecting["dsn"], given), vector=place.vectors)
    ours = AsyncpgPool(maker, target="bench-retrieval", pool={"min_size": 1, "max_size": SIZE})
    init = register_vector if place.vectors else None
    theirs = await asyncpg.create_pool(**place.connecting, min_size=1, max_size=SIZE, init=init)
    for pool in (ours, theirs):
        await _requests(pool.acquire, place, 10)
    return ours, theirs


@asynccontextmanager
async def _connection(place: _Place) -> AsyncIterator[Any]:
    conn = await asyncpg.connect(**place.connecting)
    try:
        if place.vectors:
            await register_vector(conn)
        yield conn
    finally:
        await conn.close()


async def _requests(borrow: Borrow, place: _Place, times: int) -> list[tuple[float, float]]:
    """Seconds of each checkout and of each whole request."""
    taken = []
    for number in range(times):
        began = perf_counter()
        async with borrow() as conn:
            checked_out = perf_counter()
            assert await conn.fetchval(place.query, *place.asked[number % len(place.asked)])
        taken.append((checked_out - began, perf_counter() - began))
    return taken


def _add(report: Measurement, where: str, found: dict[str, Any]) -> None:
    report.rows.append([f"*{where}*"] + [""] * (len(COLUMNS) - 1))
    taken = {name: [pair for each in rounds for pair in each] for name, rounds in found.items()}
    connecting = median(whole for _, whole in taken[CONNECT])
    for name, pairs in taken.items():
        checkouts, wholes = zip(*pairs, strict=True)
        cells = [percentile(part, percent) * 1000 for part in (checkouts, wholes) for percent in (50, 99)]
        report.rows.append([name, *cells, median(wholes) / connecting])
        if name == OURS:
            report.targets.append(Target(f"{where}: checkout p99", cells[1], 1.0, unit=" ms"))
