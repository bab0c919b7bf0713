"""What is done with each new connection before anybody has it, and again after a wipe."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from traceback import walk_tb
from typing import Any

from asyncpg import connect_utils

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


#: Not the site's own code, which may be at something of its own.
_WHO_CONNECTS = frozenset({__name__, connect_utils.__name__})


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
        try:
            conn = await self._connect(seconds)
            await self._prepare(conn)
        except BaseException as ex:
            _end_what_it_had(ex)
            raise
        return conn

    async def _connect(self, seconds: float) -> Tracked:
        return await asyncpg.connect(**self._arguments(), connection_class=Tracked, timeout=seconds)  # type: ignore[no-any-return]

    async def _prepare(self, conn: Tracked) -> None:
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

    async def configure(self, conn: Tracked) -> None:
        """Make it again what a wipe has undone: how types are read stays."""
        await self._take_role(conn)
        if self._init is not None and self._init_leaves:
            await self._init(conn)

    async def _take_role(self, conn: Tracked) -> None:
        if role := self._role():
            quoted = role.replace('"', '""')
            await conn.execute(f'SET ROLE "{quoted}"')


def _end_what_it_had(error: BaseException) -> None:
    """asyncpg ends what it has opened wherever it expects an error. One out of a signal handler may come elsewhere: then only
    the frames know of a session, which would last for as long as they do."""
    for frame, _ in walk_tb(error.__traceback__):
        if frame.f_globals.get("__name__") in _WHO_CONNECTS:
            for each in list(frame.f_locals.values()):
                if isinstance(each, Tracked):
                    each.let_go_unheard()
                elif hasattr(each, "get_extra_info") and hasattr(each, "abort"):  # a transport, of whichever loop
                    each.abort()
