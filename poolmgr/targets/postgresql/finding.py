"""The PostgreSQL targets that the settings name: every database alias on a backend that pools."""

from __future__ import annotations

from django.conf import settings
from django.db import connections

from poolmgr.exceptions import InvalidSpec
from poolmgr.pools.spec import PoolSpec
from poolmgr.targets.postgresql import parameters
from poolmgr.targets.postgresql.options import from_options


def targets() -> tuple[str, ...]:
    """Aliases on our backend that don't switch pooling off, in the order of the settings."""
    return tuple(alias for alias in settings.DATABASES if _is_pooled(alias))


def _is_pooled(alias: str) -> bool:
    # Subclasses of the backend, such as the one for PostGIS, have the property too.
    wrapper = connections[alias]
    return hasattr(type(wrapper), "managed_pool") and wrapper.settings_dict["OPTIONS"].get("pool") is not False


def bootstrap(target: str) -> PoolSpec | None:
    """The settings of a pool before any profile; None where they are wrong, which the system checks report."""
    try:
        return from_options(connections[target].settings_dict["OPTIONS"].get("pool"))[0]
    except InvalidSpec:
        return None


def address(target: str) -> str:
    """Where it is, for people: host, port and name."""
    return parameters.address(connections[target].settings_dict)
