"""What PostgreSQL honours: every word."""

from __future__ import annotations

from poolmgr.pools.kinds import Kind

POSTGRESQL = Kind(
    name="postgresql",
    label="PostgreSQL",
    package="poolmgr.targets.postgresql",
    unit="server connections",
    tells_sessions=True,
    end="server process",
    libraries={"psycopg_pool": ""},
)
