"""psycopg's pool for asyncio is ours, under its name, made as theirs is; what ours leaves to its other half is asked there."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import peer_settings  # noqa: F401
import psycopg_pool
from psycopg.conninfo import conninfo_to_dict

from poolmgr.targets.postgresql.asyncio.pool import AsyncPool
from poolmgr.targets.postgresql.managed import ManagedPool
from poolmgr.targets.postgresql.options import from_options
from poolmgr.targets.postgresql.parameters import default_parameters


class AsyncConnectionPool(AsyncPool):
    """Of one target's pool, which is for threads too: sizes, waiting and figures are its, as psycopg_pool names them."""

    _jitter = staticmethod(psycopg_pool.AsyncConnectionPool._jitter)
    check_connection = staticmethod(psycopg_pool.AsyncConnectionPool.check_connection)

    def __init__(
        self,
        conninfo: str = "",
        *,
        connection_class: Any = None,
        kwargs: Any = None,
        min_size: int = 4,
        configure: Any = None,
        check: Any = None,
        name: str = "pool",
        open: bool | None = None,
        **options: Any,
    ) -> None:
        if check is self.check_connection:  # which is a word of the profile here
            options.update(validation="query", validate_after_idle=0)
        elif check is not None:
            options["check"] = check
        spec, passed = from_options({"min_size": min_size, **options})
        given = {"autocommit": False, **(kwargs or {})}
        self._autocommit = given.pop("autocommit")
        parameters = {**conninfo_to_dict(conninfo), **given, "autocommit": True}
        made = ManagedPool(
            name, spec, partial(default_parameters, parameters, spec.connection_timeout), None, "", passed
        )
        super().__init__(lambda: made)
        self.name = name

    def __getattr__(self, name: str) -> Any:
        return getattr(self.managed.pool, name)

    async def open(self, wait: bool = False, timeout: float = 30.0) -> None:
        self.managed.open()
        if wait:
            await self.wait(timeout)

    async def close(self, timeout: float = 5.0) -> None:
        await asyncio.to_thread(self.managed.close, timeout)

    async def __aenter__(self) -> "AsyncConnectionPool":
        await self.open()
        return self

    async def __aexit__(self, *exc: Any) -> None:
        await self.close()

    async def wait(self, timeout: float = 30.0) -> None:
        await asyncio.to_thread(self.managed.pool.wait, timeout)

    async def resize(self, *sizes: Any, **named: Any) -> None:
        self.managed.pool.resize(*sizes, **named)

    async def check(self) -> None:
        await asyncio.to_thread(self.managed.pool.check)

    async def drain(self) -> None:
        self.managed.pool.drain()

    async def getconn(self, timeout: float | None = None) -> Any:
        conn = await super().getconn(timeout)
        await conn.set_autocommit(self._autocommit)
        return conn

    @asynccontextmanager
    async def connection(self, timeout: float | None = None) -> AsyncIterator[Any]:
        conn = await self.getconn(timeout)
        try:
            async with conn:
                yield conn
        finally:
            await self.putconn(conn)


psycopg_pool.AsyncConnectionPool = AsyncConnectionPool
