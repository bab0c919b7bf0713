"""The brokers that the settings name: what TARGETS declares. It needs no Celery."""

from __future__ import annotations

from poolmgr.pools import declaring
from poolmgr.pools.spec import PoolSpec
from poolmgr.targets.kombu.kind import KOMBU


def targets() -> tuple[str, ...]:
    """The names of those that the settings have, in their order."""
    return tuple(declaring.declared(KOMBU))


def bootstrap(target: str) -> PoolSpec | None:
    """The settings of a pool before any profile; None where they are wrong, which the system checks report."""
    return declaring.bootstrap_of(target, KOMBU)


def address(target: str) -> str:
    """The application: where its broker is, only its own settings tell."""
    return str(declaring.declared(KOMBU)[target].rest["APP"])
