"""What an engine of SQLAlchemy's honours."""

from __future__ import annotations

import re
from typing import Any

from poolmgr.metrics.phrases import phrase
from poolmgr.pools.kinds import Kind
from poolmgr.pools.spec import PoolSpec

_URL = re.compile(r"[a-z][a-z0-9_]*(\+[a-z][a-z0-9_]*)?://", re.IGNORECASE)


def is_url(value: Any) -> bool:
    """Whether it begins as SQLAlchemy's URLs do; the rest is for SQLAlchemy to say, which need not be there."""
    return isinstance(value, str) and _URL.match(value) is not None


SQLALCHEMY = Kind(
    name="sqlalchemy",
    label="SQLAlchemy",
    package="poolmgr.targets.sqlalchemy",
    unit=phrase("server connections"),
    tells_sessions=True,
    libraries={"sqlalchemy": "sqlalchemy"},
    refuses={"pool_mode": phrase("SQLAlchemy gives a connection back at the end of a Connection or Session.")},
    helps={
        "min_size": phrase(
            "Connections kept warm in each process. Default 0. Raise it when bursts wait for connects. Live."
        ),
        "max_size": phrase(
            "The most connections of each process, SQLAlchemy's pool_size and max_overflow together. Default 10. Raise it"
            " when requests wait and the server has room; waiting requests are served at once. Lowering closes idle"
            " connections now and used ones as they return. Live."
        ),
        "max_lifetime": phrase(
            "Seconds after which a connection is replaced, by a fresh one that is ready before; SQLAlchemy's pool_recycle."
            " 0 is its -1: never. Default 3600. Live."
        ),
        "validation": phrase(
            "How a connection is looked at before it is handed out: query is SQLAlchemy's pool_pre_ping. The look at the"
            " socket needs a driver that tells its socket, as PostgreSQL's do. Default socket. Live."
        ),
        "validation_query": (
            phrase("One plain SELECT. With SELECT 1 the dialect's own ping is used, as pool_pre_ping does. Live.")
        ),
    },
    defaults=PoolSpec(min_size=0),
    declares={"URL": (is_url, "a URL such as postgresql+psycopg://user@host/name")},
)
