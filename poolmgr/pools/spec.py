"""The settings of a pool: what they are called, what they default to, what is allowed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from poolmgr.exceptions import InvalidSpec
from poolmgr.metrics.phrases import phrase
from poolmgr.pools.queries import select_error
from poolmgr.secrets import shown

POOL_MODES = ("session", "transaction", "statement")
VALIDATIONS = ("socket", "query", "off")


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


def errors_in(values: Mapping[str, Any], query_error: Callable[[Any], str] = select_error) -> dict[str, str]:
    """What is wrong with ``values`` (all of ``FIELDS``): each field's name with a sentence; empty when all is well.

    ``query_error`` says what is wrong with a validation query.
    """
    found: dict[str, str] = {}
    for name in FIELDS:
        value = values[name]
        if message := query_error(value) if name == "validation_query" else _error(name, value):
            found[name] = message
    if not {"min_size", "max_size"} & found.keys() and values["min_size"] > values["max_size"]:
        found["min_size"] = phrase(
            "%(min_size)s is more than max_size (%(max_size)s); lower it or raise max_size",
            min_size=plainly(values["min_size"]),
            max_size=plainly(values["max_size"]),
        )
    if not {"budget", "min_size"} & found.keys() and 0 < values["budget"] < values["min_size"]:
        found["budget"] = phrase(
            "%(budget)s is less than the min_size (%(min_size)s) of a single process",
            budget=plainly(values["budget"]),
            min_size=plainly(values["min_size"]),
        )
    return found


def _error(name: str, value: Any) -> str:
    if name in _TEXT:
        allowed = ", ".join(_TEXT[name])
        return (
            ""
            if value in _TEXT[name]
            else phrase("%(value)s is not one of %(allowed)s", value=shown(value), allowed=allowed)
        )
    if name in _WHOLE:
        if isinstance(value, bool) or not isinstance(value, int):
            return phrase("%(value)s is not a whole number", value=shown(value))
        least, most = bounds(name)
        if least <= value <= most:
            return ""
        return phrase(
            "%(value)s is not between %(least)s and %(most)s",
            value=str(value),
            least=f"{least:.0f}",
            most=f"{most:.0f}",
        )
    if isinstance(value, bool) or not isinstance(value, (int, float)) or value != value:
        return phrase("%(value)s is not a number of seconds", value=shown(value))
    least, most = bounds(name)
    if least <= value <= most:
        return ""
    return phrase(
        "%(value)s is not between %(least)s and %(most)s seconds",
        value=plainly(value),
        least=f"{least:g}",
        most=f"{most:.0f}",
    )


def bounds(name: str) -> tuple[float, float]:
    """The least and the most that a setting may be that is a number."""
    return _LEAST.get(name, 0), _MOST.get(name, _LONGEST)


def plainly(value: Any) -> str:
    """A setting's value as people write it: 30 and not 30.0."""
    return f"{value:.0f}" if isinstance(value, float) and value.is_integer() and abs(value) < 1e15 else str(value)


def make_spec(
    values: Mapping[str, Any],
    where: str = "",
    *,
    defaults: PoolSpec | None = None,
    check: Callable[[Mapping[str, Any]], dict[str, str]] = errors_in,
) -> PoolSpec:
    """A valid spec from ``values``; fields that are missing get their defaults. ``check`` is as ``errors_in()``.

    Raises ``InvalidSpec`` with every field in error.
    """
    if unknown := sorted(values.keys() - set(FIELDS)):
        raise InvalidSpec(
            dict.fromkeys(unknown, phrase("unknown setting; allowed are %(allowed)s", allowed=", ".join(FIELDS))), where
        )
    filled = {**(defaults or PoolSpec()).to_dict(), **values}
    if found := check(filled):
        raise InvalidSpec(found, where)
    whole = {name: float(filled[name]) for name in FIELDS if name not in _WHOLE and isinstance(filled[name], int)}
    return replace(PoolSpec(), **{**filled, **whole})
