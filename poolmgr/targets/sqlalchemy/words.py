"""SQLAlchemy's words for a pool's settings, as ours."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from poolmgr.exceptions import ConfigurationError
from poolmgr.pools.spec import PoolSpec
from poolmgr.secrets import shown
from poolmgr.targets.sqlalchemy.kind import SQLALCHEMY

#: What QueuePool defaults to, where only one of the two is given.
_SIZE, _OVERFLOW = 5, 10


def bootstrap_of(given: Any, theirs: Mapping[str, Any], where: str) -> PoolSpec:
    """The settings of a pool before any profile, from ours in ``given`` and SQLAlchemy's in ``theirs``.

    Raises ``InvalidSpec`` for wrong settings, ``ConfigurationError`` for what a managed pool can't be, or is told twice.
    """
    if given is not None and not isinstance(given, Mapping):
        raise ConfigurationError(f"{where} is {shown(given)}, but must be a dict of a profile's settings")
    ours = dict(given or {})
    said = {name: value for name, value in theirs.items() if value is not None}
    for name, (value, words) in _translated(said).items():
        if name in ours:
            raise ConfigurationError(f"{words} is set, and so is {name}, which means the same; give only one of them")
        ours[name] = value
    if "min_size" not in ours and "max_size" in ours:
        ours["min_size"] = SQLALCHEMY.defaults.min_size
    return SQLALCHEMY.make_spec(ours, where)


def _translated(said: Mapping[str, Any]) -> dict[str, tuple[Any, str]]:
    """Ours, each with the value and the words of SQLAlchemy's that it comes from."""
    found: dict[str, tuple[Any, str]] = {}
    if "pool_size" in said or "max_overflow" in said:
        found["max_size"] = _size(said.get("pool_size", _SIZE), said.get("max_overflow", _OVERFLOW)), "pool_size"
    if "timeout" in said:
        found["connection_timeout"] = said["timeout"], "pool_timeout"
    if said.get("recycle") is not None:
        found["max_lifetime"] = _lifetime(said["recycle"]), "pool_recycle"
    if said.get("pre_ping"):
        found["validation"] = "query", "pool_pre_ping"
    return found


def _size(size: Any, overflow: Any) -> Any:
    if size == 0 or overflow == -1:
        raise ConfigurationError(
            f"pool_size is {shown(size)} and max_overflow {shown(overflow)}, which is a pool without bound; a managed pool"
            " has one: give max_size, or both as numbers"
        )
    return size + overflow


def _lifetime(recycle: Any) -> Any:
    if recycle == 0:
        raise ConfigurationError(
            "pool_recycle is 0, which closes a connection after each use; leave it out, or give the seconds that one may"
            " live, -1 for ever"
        )
    return 0 if recycle == -1 else recycle
