"""The PgBouncers that the settings name: what TARGETS declares."""

from __future__ import annotations

from poolmgr.exceptions import ConfigurationError, InvalidSpec
from poolmgr.pools import declaring
from poolmgr.pools.spec import PoolSpec
from poolmgr.targets.pgbouncer import consoles
from poolmgr.targets.pgbouncer.consoles import places
from poolmgr.targets.pgbouncer.kind import PGBOUNCER


def targets() -> tuple[str, ...]:
    """The names of those that the settings have, in their order."""
    return tuple(declaring.declared(PGBOUNCER))


def bootstrap(target: str) -> PoolSpec | None:
    """The settings of a pool before any profile; None where they are wrong, which the system checks report."""
    try:
        return declaring.bootstrap(declaring.declared(PGBOUNCER)[target], PGBOUNCER)
    except InvalidSpec:
        return None


def address(target: str) -> str:
    """Where it is, for people, with no secret."""
    try:
        return ", ".join(each.address for each in places(declaring.declared(PGBOUNCER)[target]))
    except ConfigurationError:  # which the system checks report
        return ""


def databases(target: str) -> tuple[str, ...]:
    """The names of those that it manages; none where the settings are wrong."""
    each = declaring.declared(PGBOUNCER)[target]
    return consoles.databases(each) if not declaring.error_in(each, (PGBOUNCER,)) else ()
