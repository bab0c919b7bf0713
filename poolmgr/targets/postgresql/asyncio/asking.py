"""Questions to the server that a task awaits, with a deadline."""

from __future__ import annotations

import asyncio

from poolmgr.targets.postgresql.connection import PooledConnection
from poolmgr.targets.postgresql.liveness import no_answer, validating


async def validate(conn: PooledConnection, query: str, seconds: float) -> None:
    """As ``liveness.validate()``. Whoever is cancelled leaves an answer under way."""
    try:
        async with asyncio.timeout(seconds):
            for _ in validating(conn, query):
                await _readable(conn.pgconn.socket)
    except TimeoutError as ex:
        raise no_answer(query) from ex


async def _readable(fileno: int) -> None:
    loop = asyncio.get_running_loop()
    came: asyncio.Future[None] = loop.create_future()

    def come() -> None:
        if not came.done():
            came.set_result(None)

    loop.add_reader(fileno, come)
    try:
        await came
    finally:
        loop.remove_reader(fileno)
