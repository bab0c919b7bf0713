"""What PostgreSQL honours: every word."""

from __future__ import annotations

from poolmgr.metrics.phrases import phrase
from poolmgr.pools.kinds import Kind

POSTGRESQL = Kind(
    name="postgresql",
    label="PostgreSQL",
    package="poolmgr.targets.postgresql",
    unit=phrase("server connections"),
    tells_sessions=True,
    end=phrase("server process"),
    libraries={"psycopg_pool": ""},
)
