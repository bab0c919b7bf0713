"""asyncpg's Pool is ours, under its name: opened as theirs is, and with what their tests read of its insides."""

import asyncio
import logging
from collections.abc import Generator
from functools import cache
from typing import Any

import asyncpg
import asyncpg.pool
import peer_settings  # noqa: F401

from poolmgr.targets.asyncpg.connection import Tracked
from poolmgr.targets.asyncpg.making import Maker
from poolmgr.targets.asyncpg.pool import AsyncpgPool

#: asyncpg's is for ever.
_TIMEOUT = 30.0


@cache
def _tracked(cls: type[Any]) -> type[Any]:
    """A connection class of a test's own, as one of ours."""
    return Tracked if cls is asyncpg.Connection else type(cls.__name__, (cls, Tracked), {})


class _Maker(Maker):
    """Connects by what a test gives in the place of ``asyncpg.connect()``."""

    def __init__(self, arguments: Any, connect: Any, connection_class: Any, **rest: Any) -> None:
        super().__init__(arguments, **rest)
        self._by, self._cls = connect, _tracked(connection_class)

    async def _connect(self, seconds: float) -> Any:
        conn = await self._by(**self._arguments(), connection_class=self._cls, timeout=seconds)
        if not isinstance(conn, Tracked):
            raise asyncpg.InterfaceError(
                "expected pool connect callback to return an instance of 'asyncpg.connection.Connection', got"
                f" {type(conn).__name__!r}"
            )
        return conn


class _Holder:
    """For one of theirs, in which there is a connection or none."""

    _inactive_callback = None

    def __init__(self, slot: Any = None) -> None:
        self._con = None if slot is None or slot.conn.is_closed() else slot.conn
        self._in_use = None if slot is None else slot.owner

    def is_connected(self) -> bool:
        return self._con is not None


class _Queue:
    """For theirs, in which the holders are that nobody has."""

    def __init__(self, of: "Pool") -> None:
        self._of = of

    def qsize(self) -> int:
        return self._of.get_max_size() - len(self._of.managed.out)


class Pool(AsyncpgPool):
    """With asyncpg's arguments. Theirs has ``init_size`` connections when it is open; ours is asked for as many then."""

    _maintenance_task = None

    def __init__(
        self,
        dsn: Any = None,
        *,
        min_size: int,
        max_size: int,
        max_queries: int,
        max_inactive_connection_lifetime: float,
        connect: Any = None,
        setup: Any = None,
        init: Any = None,
        reset: Any = None,
        init_size: int | None = None,
        loop: Any = None,
        connection_class: Any = asyncpg.Connection,
        **arguments: Any,
    ) -> None:
        self._given = given = {"dsn": dsn, **arguments}
        maker = _Maker(lambda: given, connect or asyncpg.connect, connection_class, init=init)
        settings = {"min_size": min_size, "max_size": max_size, "connection_timeout": _TIMEOUT}
        super().__init__(maker, pool={**settings, "idle_timeout": max_inactive_connection_lifetime}, setup=setup)
        self._init_size = min_size if init_size is None else init_size
        self._queue = _Queue(self)

    def __await__(self) -> Generator[Any, None, "Pool"]:
        return self.__aenter__().__await__()

    async def __aenter__(self) -> "Pool":
        setup, self._setup = self._setup, None
        try:
            for each in await asyncio.gather(*(self._acquire(None) for _ in range(self._init_size))):
                await self.release(each)
        finally:
            self._setup = setup
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.close()

    def get_init_size(self) -> int:
        return self._init_size

    def set_connect_args(self, dsn: Any = None, **arguments: Any) -> None:
        self._given.clear()
        self._given.update(dsn=dsn, **arguments)

    @property
    def _holders(self) -> list[_Holder]:
        managed = self.managed
        found = [_Holder(slot) for slot in [*managed.idle, *managed.out]]
        return found + [_Holder() for _ in range(self.get_max_size() - len(found))]


def create_pool(dsn: Any = None, *, min_size: int = 10, max_size: int = 10, **rest: Any) -> Pool:
    """asyncpg's, with its defaults."""
    theirs = {"max_queries": 50000, "max_inactive_connection_lifetime": 300.0}
    return Pool(dsn, min_size=min_size, max_size=max_size, **{**theirs, **rest})


# Where their tests look for what is told.
logging.getLogger("poolmgr.pool").parent = asyncpg.pool.logger
asyncpg.pool.Pool = asyncpg.Pool = Pool
asyncpg.pool.create_pool = asyncpg.create_pool = create_pool
