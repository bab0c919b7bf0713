"""The settings of a pool: what they are called, what they default to, what is allowed."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from poolmgr.exceptions import InvalidSpec
from poolmgr.secrets import HIDDEN, is_secret, shown

POOL_MODES = ("session", "transaction", "statement")
VALIDATIONS = ("socket", "query", "off")

#: Django's (that is psycopg_pool's) names for settings of ours.
NATIVE_NAMES = {"timeout": "connection_timeout", "max_idle": "idle_timeout"}

#: psycopg_pool's options that are no settings of a profile; they are handed to the pool as they are.
PASSED_THROUGH = frozenset(
    {"check", "close_returns", "conninfo", "connection_class", "name", "num_workers", "reconnect_failed", "reset"}
)


@dataclass(frozen=True, slots=True)
class PoolSpec:
    """The desired settings of one pool. Durations are in seconds; 0 turns a duration or a limit off.

    ``budget`` is of the whole fleet; every other setting is of one pool in one process.
    """

    pool_mode: str = "session"
    min_size: int = 2
    max_size: int = 10
    budget: int = 0
    connection_timeout: float = 30.0
    max_waiting: int = 0
    idle_timeout: float = 600.0
    max_lifetime: float = 3600.0
    reconnect_timeout: float = 300.0
    validation: str = "socket"
    validation_query: str = "SELECT 1"
    validate_after_idle: float = 30.0
    keepalive_interval: float = 0.0
    leak_threshold: float = 0.0
    health_check_interval: float = 30.0

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


FIELDS: tuple[str, ...] = tuple(each.name for each in fields(PoolSpec))
_WHOLE = frozenset({"min_size", "max_size", "budget", "max_waiting"})
_TEXT = {"pool_mode": POOL_MODES, "validation": VALIDATIONS}
#: The least value where 0 would not mean "off".
_LEAST = {"max_size": 1, "connection_timeout": 0.05, "reconnect_timeout": 1.0, "health_check_interval": 1.0}
_MOST = {"min_size": 10_000, "max_size": 10_000, "budget": 1_000_000, "max_waiting": 1_000_000}
_LONGEST = 30 * 86_400.0


def errors_in(values: Mapping[str, Any]) -> dict[str, str]:
    """What is wrong with ``values`` (all of ``FIELDS``): each field's name with a sentence; empty when all is well."""
    found: dict[str, str] = {}
    for name in FIELDS:
        if message := _error(name, values[name]):
            found[name] = message
    if not {"min_size", "max_size"} & found.keys() and values["min_size"] > values["max_size"]:
        found["min_size"] = (
            f"{values['min_size']} is more than max_size ({values['max_size']}); lower it or raise max_size"
        )
    if not {"budget", "min_size"} & found.keys() and 0 < values["budget"] < values["min_size"]:
        found["budget"] = f"{values['budget']} is less than the min_size ({values['min_size']}) of a single process"
    return found


def _error(name: str, value: Any) -> str:
    if name in _TEXT:
        return "" if value in _TEXT[name] else f"{shown(value)} is not one of {', '.join(_TEXT[name])}"
    if name == "validation_query":
        return query_error(value)
    if name in _WHOLE:
        if isinstance(value, bool) or not isinstance(value, int):
            return f"{shown(value)} is not a whole number"
        least, most = int(_LEAST.get(name, 0)), _MOST[name]
        return "" if least <= value <= most else f"{value} is not between {least} and {most}"
    if isinstance(value, bool) or not isinstance(value, (int, float)) or value != value:
        return f"{shown(value)} is not a number of seconds"
    lowest = _LEAST.get(name, 0.0)
    if lowest <= value <= _LONGEST:
        return ""
    return f"{plainly(value)} is not between {lowest:g} and {_LONGEST:.0f} seconds"


def plainly(value: Any) -> str:
    """A setting's value as people write it: 30 and not 30.0."""
    return f"{value:.0f}" if isinstance(value, float) and value.is_integer() else str(value)


_ONE_SELECT = re.compile(r"\s*select\b", re.IGNORECASE)
#: What a transaction that only reads refuses anyway, and what it can't undo.
_MORE_THAN_READS = re.compile(
    r"(u&\"|\b(?:into|for\s+(?:no\s+key\s+update|update|key\s+share|share)|set_config|nextval|setval|setseed|set_limit"
    r"|pg_(?:try_)?advisory\w*|pg_notify|pg_terminate_backend|pg_cancel_backend|pg_reload_conf|pg_sleep\w*"
    r"|pg_(?:switch|create|drop|promote|logical|replication)\w*|pg_read\w*|pg_ls\w*|lo_\w+|dblink\w*"
    r"|pg_stat_reset\w*|query_to_xml\w*|cursor_to_xml\w*|table_to_xml\w*)\b)",
    re.IGNORECASE,
)


def query_error(query: Any) -> str:
    """Why ``query`` can't be a validation query, or an empty string.

    A validation query runs on connections that belong to nobody yet, so it must be one plain SELECT that leaves nothing
    behind. Whatever passes here is run by ``liveness.validate()`` in a transaction that only reads.
    """
    if isinstance(query, str) and is_secret(query):
        return f"{HIDDEN}, since it seems to hold a password, which whoever looks at the settings would see"
    if not isinstance(query, str) or not _ONE_SELECT.match(query):
        return f"{shown(query)} is not one SELECT statement, such as SELECT 1"
    body = query.strip().removesuffix(";")
    if ";" in body:
        return f"{query!r} has more than one statement; use one SELECT, such as SELECT 1"
    if found := _MORE_THAN_READS.search(query):
        return f"{query!r} does more than read ({found.group()}); use one plain SELECT, such as SELECT 1"
    if "\x00" in query or len(query) > 500:
        return "the query must be at most 500 characters of plain text"
    return ""


def make_spec(values: Mapping[str, Any], where: str = "") -> PoolSpec:
    """A valid spec from ``values``; fields that are missing get their defaults.

    Raises ``InvalidSpec`` with every field in error.
    """
    if unknown := sorted(values.keys() - set(FIELDS)):
        raise InvalidSpec(dict.fromkeys(unknown, f"unknown setting; allowed are {', '.join(FIELDS)}"), where)
    filled = {**PoolSpec().to_dict(), **values}
    if found := errors_in(filled):
        raise InvalidSpec(found, where)
    whole = {name: float(filled[name]) for name in FIELDS if name not in _WHOLE and isinstance(filled[name], int)}
    return replace(PoolSpec(), **{**filled, **whole})


def from_options(options: Any, where: str = "OPTIONS['pool']") -> tuple[PoolSpec, dict[str, Any]]:
    """Read ``OPTIONS["pool"]``: True, or a dict of Django's own keys, ours, or both.

    Returns the spec and the psycopg_pool options that are handed through. As in psycopg_pool, a ``max_size`` of None,
    or a ``min_size`` alone, means a pool of fixed size.
    """
    if options is True or options is None:
        return PoolSpec(), {}
    if not isinstance(options, Mapping):
        raise InvalidSpec({"pool": f"{shown(options)} is not True, False or a dict of settings"}, where)
    given: dict[str, Any] = {NATIVE_NAMES.get(str(key), str(key)): value for key, value in options.items()}
    if len(given) < len(options):
        twice = sorted(name for name in NATIVE_NAMES if name in options and NATIVE_NAMES[name] in options)
        raise InvalidSpec({name: f"given together with {NATIVE_NAMES[name]}, its other name" for name in twice}, where)
    passed = {key: given.pop(key) for key in PASSED_THROUGH & given.keys()}
    defaults = PoolSpec()
    if given.get("max_size") is None:
        given.pop("max_size", None)
        if isinstance(least := given.get("min_size"), int) and not isinstance(least, bool):
            given["max_size"] = max(least, 1)
    elif "min_size" not in given and isinstance(most := given["max_size"], int):
        given["min_size"] = max(0, min(defaults.min_size, most))
    if unknown := sorted(given.keys() - set(FIELDS)):
        allowed = ", ".join(sorted({*FIELDS, *NATIVE_NAMES, *PASSED_THROUGH}))
        raise InvalidSpec(dict.fromkeys(unknown, f"unknown setting; allowed are {allowed}"), where)
    return make_spec(given, where), passed
