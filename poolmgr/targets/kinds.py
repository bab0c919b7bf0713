"""All kinds there are: a new one is a folder beside this module, and a line here."""

from __future__ import annotations

from poolmgr.pools.kinds import Kind
from poolmgr.targets.asyncpg.kind import ASYNCPG
from poolmgr.targets.kombu.kind import KOMBU
from poolmgr.targets.pgbouncer.kind import PGBOUNCER
from poolmgr.targets.postgresql.kind import POSTGRESQL
from poolmgr.targets.redis.kind import REDIS
from poolmgr.targets.sqlalchemy.kind import SQLALCHEMY

KINDS: tuple[Kind, ...] = (POSTGRESQL, REDIS, SQLALCHEMY, ASYNCPG, KOMBU, PGBOUNCER)
