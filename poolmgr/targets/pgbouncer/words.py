"""Our words in PgBouncer's, and back: pure."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any

from poolmgr.pools.spec import PoolSpec

#: PgBouncer's server_lifetime 0 means that a connection is used once; the longest that a profile may ask for is never enough
#: to matter.
_FOR_EVER = 30 * 86_400
#: The check that PgBouncer has from version 1.25 on where it was told of none: a statement with nothing in it.
_EMPTY = "<empty>"
#: The bytes of a value that the console takes, its quotes included; of a name what it takes without quotes, and its bytes.
LONGEST_VALUE = 255
_BARE, _LONGEST = re.compile(r"[A-Za-z0-9_]+"), 63


def settings_for(spec: PoolSpec, fields: Collection[str], parts: int) -> dict[str, str]:
    """What PgBouncer is to have for those ``fields`` of a spec, by its own names.

    ``parts`` is the number of databases and instances that share the budget.
    """
    each: dict[str, dict[str, str]] = {
        "pool_mode": {"pool_mode": spec.pool_mode},
        "min_size": {"min_pool_size": str(spec.min_size)},
        "max_size": {"default_pool_size": str(spec.max_size)},
        "budget": {"max_db_connections": str(max(1, spec.budget // parts) if spec.budget else 0)},
        "connection_timeout": {"query_wait_timeout": _seconds(spec.connection_timeout)},
        "idle_timeout": {"server_idle_timeout": _seconds(spec.idle_timeout)},
        "max_lifetime": {"server_lifetime": _seconds(spec.max_lifetime or _FOR_EVER)},
        **dict.fromkeys(("validation", "validation_query", "validate_after_idle"), _checks(spec)),
    }
    return {name: value for field in fields if field in each for name, value in each[field].items()}


def _seconds(value: float) -> str:
    return str(round(value))


def _checks(spec: PoolSpec) -> dict[str, str]:
    asks = spec.validation == "query" or (spec.validation == "socket" and spec.validate_after_idle > 0)
    delay = 0.0 if spec.validation == "query" else spec.validate_after_idle
    return {"server_check_query": spec.validation_query.strip() if asks else "", "server_check_delay": _seconds(delay)}


def fields_of(config: Mapping[str, str], parts: int) -> dict[str, Any]:
    """What PgBouncer has, by our names, as far as it has words for it; ``config`` is as SHOW CONFIG tells it."""
    found: dict[str, Any] = {}
    if (number := _whole(config.get("max_db_connections"))) is not None:
        found["budget"] = number * parts
    for ours, theirs in (("min_size", "min_pool_size"), ("max_size", "default_pool_size")):
        if (number := _whole(config.get(theirs))) is not None:
            found[ours] = number
    for ours, theirs in (
        ("connection_timeout", "query_wait_timeout"),
        ("idle_timeout", "server_idle_timeout"),
        ("max_lifetime", "server_lifetime"),
    ):
        if (number := _whole(config.get(theirs))) is not None:
            found[ours] = 0.0 if ours == "max_lifetime" and number >= _FOR_EVER else float(number)
    if config.get("pool_mode"):
        found["pool_mode"] = config["pool_mode"]
    delay = _whole(config.get("server_check_delay"))
    if not config.get("server_check_query"):
        found["validation"] = "off"
    elif delay is not None:
        found |= {"validation": "socket", "validate_after_idle": float(delay)} if delay else {"validation": "query"}
        if config["server_check_query"] != _EMPTY:
            found["validation_query"] = config["server_check_query"]
    return found


def _whole(text: str | None) -> int | None:
    try:
        return int(float(text)) if text else None
    except ValueError:
        return None


def same(wanted: str, found: str | None) -> bool:
    """Whether a setting that SHOW CONFIG tells is what was wanted; 5 and 5.0 are the same."""
    if found is None:
        return wanted == ""
    if wanted == found:
        return True
    number = _whole(found)
    return number is not None and wanted.isdecimal() and int(wanted) == number


def is_name(database: str) -> bool:
    """Whether a database can be called so on the console, which takes so many bytes and knows no escapes but one."""
    return bool(database) and database.isprintable() and len(named(database).encode()) <= _LONGEST


def named(database: str) -> str:
    """A database as a command of the console names it."""
    if _BARE.fullmatch(database):
        return database
    doubled = database.replace('"', '""')
    return f'"{doubled}"'


def statement(name: str, value: str) -> str:
    """The SET that the console takes: it knows no parameters."""
    return f"SET {name} = {_quoted(value)}"


def is_told(value: str) -> bool:
    """Whether the console takes so long a value."""
    return len(_quoted(value).encode()) <= LONGEST_VALUE


def _quoted(value: str) -> str:
    doubled = value.replace("'", "''")
    return f"'{doubled}'"
