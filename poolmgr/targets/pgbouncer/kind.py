"""What a PgBouncer honours of our words, and what it knows no word for."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from poolmgr.metrics.phrases import phrase
from poolmgr.pools.kinds import COMMANDS, Kind
from poolmgr.pools.spec import POOL_MODES, PoolSpec, plainly
from poolmgr.targets.pgbouncer.words import LONGEST_VALUE, is_name, is_told

_URL = re.compile(r"postgres(ql)?://", re.IGNORECASE)
#: What may be of one database alone, and the least that a number may be.
_OWN = {"max_size": 1, "min_size": 0, "budget": 0, "pool_mode": 0}
_SECONDS = ("connection_timeout", "idle_timeout", "max_lifetime", "validate_after_idle")


def is_url(value: Any) -> bool:
    """Whether it begins as libpq's URLs do; the rest is for libpq to say."""
    return isinstance(value, str) and _URL.match(value) is not None


def _are_urls(value: Any) -> bool:
    return value is None or (isinstance(value, list) and all(map(is_url, value)))


def _are_databases(value: Any) -> bool:
    return (
        isinstance(value, list | dict)
        and 0 < len(value) == len({*map(str, value)})
        and all(isinstance(each, str) and is_name(each) and each != "pgbouncer" for each in value)
        and (isinstance(value, list) or all(map(_is_own, value.values())))
    )


def _is_own(value: Any) -> bool:
    """Whether it is what one database may have otherwise than the rest."""
    return isinstance(value, dict) and all(
        word in _OWN and (each in POOL_MODES if word == "pool_mode" else type(each) is int and each >= _OWN[word])
        for word, each in value.items()
    )


def _limits(values: Mapping[str, Any]) -> dict[str, str]:
    """What PgBouncer would cut, or its console not take: it counts in whole seconds."""
    query = values["validation_query"]
    if isinstance(query, str) and not is_told(query):
        return {
            "validation_query": phrase(
                "it is longer than the %(n)s bytes that PgBouncer's console takes", n=LONGEST_VALUE
            )
        }
    return {
        name: phrase("%(value)s is not a whole number of seconds, and PgBouncer knows no others", value=plainly(value))
        for name in _SECONDS
        if isinstance(value := values[name], float) and not value.is_integer()
    }


_CLIENTS = phrase("Whoever holds its connections is a client of its own; kill cuts off those of a database.")

PGBOUNCER = Kind(
    name="pgbouncer",
    label="PgBouncer",
    package="poolmgr.targets.pgbouncer",
    unit=phrase("clients"),
    end=phrase("server process"),
    elsewhere=True,
    joins=True,
    commands=(*COMMANDS, "kill", "disable", "enable"),
    denies={"cancel": _CLIENTS, "end": _CLIENTS},
    refuses={
        "max_waiting": phrase("PgBouncer can't bound who waits; its max_client_conn bounds clients."),
        "reconnect_timeout": phrase("PgBouncer tries again for ever, every server_login_retry seconds."),
        "keepalive_interval": phrase(
            "PgBouncer sends nothing on idle connections; its tcp_keepalive has the system do so."
        ),
        "leak_threshold": phrase("PgBouncer knows nobody's stack; who holds a connection is listed with its address."),
    },
    helps={
        "pool_mode": phrase(
            "When a client's connection goes back: PgBouncer's pool_mode, “session”, “transaction” or “statement”."
            " Default session. Live: it holds for connected clients from their next statement on."
        ),
        "min_size": phrase(
            "Server connections kept warm for each database and user: min_pool_size. Default 0. Raise it when bursts wait"
            " for connects. Live."
        ),
        "max_size": phrase(
            "The most server connections for each database and user: default_pool_size. Default 20. Lowering closes those"
            " above it as they become idle. A pool_size of a database's own in pgbouncer.ini stands. Live."
        ),
        "budget": phrase(
            "The most server connections of all databases and instances together, shared out evenly as max_db_connections;"
            " 0 sets no limit. Default 0. Live."
        ),
        "connection_timeout": phrase(
            "Whole seconds that a client waits for a server connection before PgBouncer drops it: query_wait_timeout."
            " Default 120. Live."
        ),
        "idle_timeout": phrase(
            "Whole seconds after which an unused server connection is closed, server_idle_timeout; 0 keeps it."
            " Default 600. Live."
        ),
        "max_lifetime": phrase(
            "Whole seconds after which an unused server connection is replaced: server_lifetime. 0 sets 30 days, since"
            " PgBouncer's own 0 would use each connection once. Default 3600. Live."
        ),
        "validation": phrase(
            "How a server connection is checked before it is handed out: “socket” sees that the server hung up, “query” also"
            " runs the validation query every time (server_check_delay 0), “off” asks the server nothing."
            " Default socket. Live."
        ),
        "validation_query": phrase("One plain SELECT: server_check_query. Default SELECT 1. Live."),
        "validate_after_idle": phrase(
            "A server connection unused for this many whole seconds gets the validation query before it is handed out:"
            " server_check_delay. 0 never. Default 30. Live."
        ),
    },
    defaults=PoolSpec(min_size=0, max_size=20, connection_timeout=120.0),
    declares={
        "URL": (is_url, "the URL of the console, such as postgresql://user@host:6432/pgbouncer"),
        "DATABASES": (
            _are_databases,
            "a list of PgBouncer's names of databases, each once, such as ['app'], or a dict of them with what each has of"
            " its own: max_size, min_size, budget, pool_mode",
        ),
        "OTHER_URLS": (_are_urls, "a list of the consoles of the other processes, each by an address of its own"),
    },
    limits=_limits,
)
