"""What asyncpg honours."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from django.conf import settings

from poolmgr.metrics.phrases import phrase
from poolmgr.pools.kinds import Kind
from poolmgr.pools.spec import PoolSpec

_URL = re.compile(r"postgres(ql)?://", re.IGNORECASE)
_PATH = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+")


def is_url(value: Any) -> bool:
    """Whether it begins as asyncpg's do, or is left out; the rest is for asyncpg to say, which need not be there."""
    return value is None or (isinstance(value, str) and _URL.match(value) is not None)


def _is_path(value: Any) -> bool:
    return value is None or (isinstance(value, str) and _PATH.fullmatch(value) is not None)


ASYNCPG = Kind(
    name="asyncpg",
    label="asyncpg",
    package="poolmgr.targets.asyncpg",
    unit=phrase("server connections"),
    tells_sessions=True,
    libraries={"asyncpg": "asyncpg"},
    refuses={"pool_mode": phrase("An asyncpg connection goes back when it is released.")},
    helps={
        "min_size": phrase(
            "Connections kept warm in each process, in loops that live on. Default 0. Raise it when bursts wait for"
            " connects, which with vectors take two round trips more. Live."
        ),
        "max_size": phrase(
            "The most connections of each process, those of all its event loops together. Default 10. Raise it when"
            " requests wait and the server has room; waiting requests are served at once. Lowering closes idle"
            " connections now and used ones as they are released. Live."
        ),
        "idle_timeout": phrase(
            "Seconds after which an idle connection above min_size is closed; asyncpg's max_inactive_connection_lifetime."
            " 0 keeps them. Default 600. Live."
        ),
    },
    defaults=PoolSpec(min_size=0),
    declares={
        "URL": (is_url, "a URL such as postgresql://user@host/name, or left out where DATABASE is given"),
        "DATABASE": (
            lambda v: v is None or (isinstance(v, str) and v in settings.DATABASES),
            "an alias of settings.DATABASES, whose parameters the connections take",
        ),
        "VECTOR": (
            lambda v: v is None or isinstance(v, bool),
            "True, for connections that know the types of pgvector, or False",
        ),
        "INIT": (_is_path, "the dotted path of a coroutine function, called with each new connection"),
        "SETUP": (_is_path, "the dotted path of a coroutine function, called with a connection at each checkout"),
        "OPTIONS": (
            lambda v: v is None or (isinstance(v, Mapping) and all(isinstance(name, str) for name in v)),
            "a dict of keyword arguments of asyncpg.connect()",
        ),
    },
)
