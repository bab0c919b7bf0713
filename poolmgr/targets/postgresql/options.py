"""``DATABASES[alias]["OPTIONS"]["pool"]``: Django's and psycopg_pool's names beside ours."""

from __future__ import annotations

from collections.abc import Mapping
from inspect import iscoroutinefunction
from typing import Any

from poolmgr.exceptions import InvalidSpec
from poolmgr.pools.spec import FIELDS, PoolSpec, make_spec
from poolmgr.secrets import shown

#: Django's (that is psycopg_pool's) names for settings of ours.
NATIVE_NAMES = {"timeout": "connection_timeout", "max_idle": "idle_timeout"}

#: psycopg_pool's options that are no settings of a profile; they are handed to the pool as they are.
PASSED_THROUGH = frozenset(
    {"check", "close_returns", "conninfo", "connection_class", "name", "num_workers", "reconnect_failed", "reset"}
)
#: Those that are called by threads, with psycopg's connection for threads.
_CALLED = ("check", "reconnect_failed", "reset")


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
    if awaited := [key for key in _CALLED if iscoroutinefunction(passed.get(key))]:
        why = "is a coroutine function, but must be a plain one, since threads call it"
        raise InvalidSpec(dict.fromkeys(awaited, why), where)
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
