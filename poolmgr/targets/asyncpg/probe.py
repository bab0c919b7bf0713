"""One look at the server of an asyncpg target, in an event loop of its own: it connects as the pool does, and asks."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from time import monotonic, perf_counter

from poolmgr.pools import declaring
from poolmgr.pools.core.driver import NoAnswer, Refused
from poolmgr.pools.diagnosis import words_of
from poolmgr.pools.looking import Look
from poolmgr.pools.sql import figures
from poolmgr.secrets import disarm
from poolmgr.targets.asyncpg.connection import Tracked
from poolmgr.targets.asyncpg.diagnosis import diagnose, is_of_the_server
from poolmgr.targets.asyncpg.driver import ask
from poolmgr.targets.asyncpg.handing import maker_of
from poolmgr.targets.asyncpg.kind import ASYNCPG


def look(target: str, look: Look, query: Callable[[], str], deadline: float, silence: float) -> None:
    """As ``pools.looking.Prober`` has it. What the site's own code raises at a connect is raised as it is."""
    failed: Exception | None = None
    try:
        asyncio.run(_look(target, look, query, deadline, silence))
    except Exception as ex:
        error = disarm(ex)
        found = diagnose(error)
        failed = found.cls(found.sentence, target) if is_of_the_server(error) else error
    if failed is not None:
        raise failed


async def _look(target: str, look: Look, query: Callable[[], str], deadline: float, silence: float) -> None:
    make = maker_of(declaring.declared(ASYNCPG)[target])
    began = perf_counter()
    try:
        async with asyncio.timeout(left := max(0.05, deadline - monotonic())):
            conn = await make(left)
    except TimeoutError as ex:
        raise NoAnswer(f"no answer within {left:g} s") from ex
    try:
        look.connect_time = perf_counter() - began
        look.connected = True
        # The query may have to be waited for, and nobody else is in this loop.
        await _validate(conn, query(), look, deadline)
        answer = await conn.fetchval(figures.asking(silence), timeout=max(0.05, deadline - monotonic()))
        figures.fill(look, answer, conn.get_server_pid())
        await conn.close(timeout=max(0.05, deadline - monotonic()))
    finally:
        conn.let_go_unheard()


async def _validate(conn: Tracked, query: str, look: Look, deadline: float) -> None:
    began = perf_counter()
    try:
        await ask(conn, query, max(0.05, deadline - monotonic()))
        look.query_error = ""
    except Refused as ex:
        error = ex.__cause__ or ex
        look.refuse(diagnose(error).sentence, words_of(error))
    finally:
        look.query_time = perf_counter() - began
