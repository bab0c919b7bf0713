"""What is done with each new connection before anybody has it, and again after a wipe."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from poolmgr.pools.sockets import bound_silence
from poolmgr.pools.sql.processes import of_another
from poolmgr.targets.asyncpg.arguments import Arguments
from poolmgr.targets.asyncpg.connection import Tracked
from poolmgr.targets.asyncpg.library import asyncpg
from poolmgr.targets.asyncpg.vectors import Vectors


async def is_behind_pooler(conn: Any) -> bool:
    """Whether asyncpg's connection leads to a pooler before the server. Raises its error where the connection broke."""
    try:
        # The only way of asyncpg's that prepares nothing tells how many rows there are.
        return str(await conn.execute(of_another(int(conn.get_server_pid())))) == "SELECT 1"
    except asyncpg.PostgresError:
        if conn.is_closed():
            raise
        return False  # a server that knows no processes


class Maker:
    """``arguments`` gives those of ``asyncpg.connect()``. ``role`` is taken on each connection, ``vector`` has it know the
    types of pgvector, and ``init`` is the site's own, called with each new connection.
    """

    def __init__(
        self,
        arguments: Arguments,
        *,
        role: Callable[[], str] = str,
        vector: bool = False,
        init: Callable[[Any], Awaitable[object]] | None = None,
    ) -> None:
        self._arguments = arguments
        self._role = role
        self._vectors = Vectors() if vector else None
        self._init = init
        self._init_leaves = False

    async def __call__(self, seconds: float) -> Tracked:
        """A connection that is ready to use, within so many seconds. Raises asyncpg's errors and the site's own."""
        conn = await self._connect(seconds)
        try:
            bound_silence(conn.fileno())
            conn.behind_pooler = await is_behind_pooler(conn)
            await self._take_role(conn)
            if self._vectors is not None:
                await self._vectors.register(conn)
            conn.begin()
            if self._init is not None:
                await self._init(conn)
                conn._check_open()  # whatever it has done
                self._init_leaves = bool(conn.left)
                conn.begin()
        except BaseException:
            conn.let_go_unheard()
            raise
        return conn

    async def _connect(self, seconds: float) -> Tracked:
        return await asyncpg.connect(**self._arguments(), connection_class=Tracked, timeout=seconds)  # type: ignore[no-any-return]

    async def configure(self, conn: Tracked) -> None:
        """Make it again what a wipe has undone: how types are read stays."""
        await self._take_role(conn)
        if self._init is not None and self._init_leaves:
            await self._init(conn)

    async def _take_role(self, conn: Tracked) -> None:
        if role := self._role():
            quoted = role.replace('"', '""')
            await conn.execute(f'SET ROLE "{quoted}"')
