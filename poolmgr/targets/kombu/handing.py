"""The pool of a declared broker, which is that of its Celery application: one in each process."""

from __future__ import annotations

from functools import partial
from typing import cast

from poolmgr.exceptions import ConfigurationError
from poolmgr.pools import declaring, registry
from poolmgr.targets.kombu.applications import app_of
from poolmgr.targets.kombu.kind import KOMBU
from poolmgr.targets.kombu.pool import BrokerPool


def pool(target: str) -> BrokerPool:
    """Raises ``KeyError`` for one that the settings don't name, ``ConfigurationError``, ``InvalidSpec``."""
    broker = cast(BrokerPool, registry.get_or_make(target, partial(_make, target)))
    broker.attach()
    if broker.problem:
        raise ConfigurationError(f"the broker {target!r} is not managed: {broker.problem}")
    return broker


def _make(target: str) -> BrokerPool:
    return BrokerPool(target, app_of(target), declaring.bootstrap(declaring.declared(KOMBU)[target], KOMBU))
