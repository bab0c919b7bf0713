"""Targets, as the tests that all kinds pass see them: ``pool`` is what the registry has of one, which agent and pages speak to."""

from typing import Any

from django.db import connections
from sqlalchemy.util import greenlet_spawn

from poolmgr.pools import registry
from poolmgr.pools.groups.group import Group
from poolmgr.targets.asyncpg.arguments import of_url
from poolmgr.targets.asyncpg.finding import address_of
from poolmgr.targets.asyncpg.making import Maker
from poolmgr.targets.asyncpg.pool import AsyncpgPool
from poolmgr.targets.postgresql.kind import POSTGRESQL
from poolmgr.targets.redis.asyncio import AsyncManagedConnectionPool
from poolmgr.targets.redis.pool import ManagedConnectionPool
from poolmgr.targets.sqlalchemy import async_engine, create_async_engine, create_engine, engine
from tests import pools
from tests.kinds.async_subjects import AsyncAlchemy, Asyncpg, AsyncRedis, InALoop
from tests.kinds.subjects import Alchemy, Redis, Subject

TARGET = "kinds"


class OfATarget(Subject):
    """Its fronts join the group of the target; an alias of Django's is none."""

    def _open(self, url: str, settings: dict[str, Any]) -> None:
        self._join(url, settings)
        self.pool = registry.get(TARGET)
        self.pool.limit(None)  # with a budget one begins without a lease

    def _join(self, url: str, settings: dict[str, Any]) -> None: ...

    def members(self) -> list[Any]:
        return [*self.pool.members.values()] if isinstance(self.pool, Group) else [self.pool]

    def close(self) -> None:
        registry.close(TARGET)
        super().close()


class RedisTarget(OfATarget, Redis):
    def _join(self, url: str, settings: dict[str, Any]) -> None:
        self.redis_pool = ManagedConnectionPool.from_url(url, target=TARGET, pool=settings)
        assert self.redis_pool.managed


class AsyncRedisTarget(OfATarget, AsyncRedis):
    def _join(self, url: str, settings: dict[str, Any]) -> None:
        self.front = AsyncManagedConnectionPool.from_url(url, target=TARGET, pool=settings)
        self._use_pool_of(self.front)


class AlchemyTarget(OfATarget, Alchemy):
    def _join(self, url: str, settings: dict[str, Any]) -> None:
        self.engine = create_engine(TARGET, self._dialect_s(url), pool=settings)
        assert self.engine.pool.managed


class AsyncAlchemyTarget(OfATarget, AsyncAlchemy):
    def _join(self, url: str, settings: dict[str, Any]) -> None:
        self.engine = create_async_engine(TARGET, self._dialect_s(url), pool=settings)
        self._use_pool_of(self.engine.pool)


class AsyncpgTarget(OfATarget, Asyncpg):
    def _join(self, url: str, settings: dict[str, Any]) -> None:
        self.front = AsyncpgPool(Maker(of_url(url, {})), target=TARGET, pool=settings, address=address_of(url))
        self._use_pool_of(self.front)


class Lent(OfATarget, Alchemy):
    """An engine of SQLAlchemy's on the connections of a database alias."""

    kind = POSTGRESQL

    def _join(self, url: str, settings: dict[str, Any]) -> None:
        alias = {TARGET: pools.database(url, pool={"max_size": 10, **settings})}
        connections.settings[TARGET] = connections.configure_settings({**connections.settings, **alias})[TARGET]
        self._make_engine()

    def _make_engine(self) -> None:
        self.engine = engine(TARGET, echo=False)

    def close(self) -> None:
        try:
            super().close()
        finally:
            if connections.settings.pop(TARGET, None):
                del connections[TARGET]


class AsyncLent(InALoop, Lent):
    reclaims_what_is_dropped = 1

    def _make_engine(self) -> None:
        self.engine = async_engine(TARGET, echo=False)

    def borrow(self) -> Any:
        return self.loop.do(self.engine.raw_connection)

    def give_back(self, conn: Any) -> None:
        self.loop.do(lambda: greenlet_spawn(conn.close))

    def use(self, conn: Any) -> int:
        return int(self.loop.do(lambda: greenlet_spawn(super(AsyncLent, self).use, conn)))

    def break_off(self, conn: Any) -> None:
        self.loop.do(conn.driver_connection.close)

    def soil(self, conn: Any) -> None:
        conn.driver_connection.pgconn.send_query(b"SELECT pg_sleep(60)")
