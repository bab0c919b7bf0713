"""The fleet store: where processes leave their heartbeats. Nothing above knows which of the two it is."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from importlib import import_module
from typing import cast

from poolmgr.conf import conf
from poolmgr.control.store.base import FleetStore, StoreDown
from poolmgr.control.store.database import DatabaseStore
from poolmgr.exceptions import ConfigurationError

__all__ = ["FleetStore", "StoreDown", "get_store", "live_uids", "prepare"]


def get_store() -> FleetStore:
    """This process's store: Redis where ``POOLMGR["REDIS_URL"]`` is set, else the control database.

    Raises ``ConfigurationError`` when redis-py is missing or does not understand the URL.
    """
    return _store(conf().REDIS_URL, conf().NAMESPACE, os.getpid())


def prepare() -> None:
    """Import what this process's store needs; what is wrong with the setting is left to ``get_store`` to raise."""
    with suppress(ConfigurationError):
        if conf().REDIS_URL:
            _redis_store()


def live_uids() -> set[str]:
    """Every process that beats in either store, readably or not: while Redis is away, and a little longer, they do so in
    rows.

    Raises ``StoreDown`` when one of them can't be read.
    """
    store = get_store()
    stores = (store, DatabaseStore()) if store.pushes else (store,)
    return set().union(*(each.read(details=False).uids for each in stores))


# By pid, since a child of a fork must not read from its parent's sockets. The parent's store is kept, unused: to drop
# it would close it, and its locks may have been held at the moment of the fork.
@cache
def _store(url: str | None, namespace: str, pid: int) -> FleetStore:
    if not url:
        return DatabaseStore()
    return _redis_store()(url)


def _redis_store() -> Callable[[str], FleetStore]:
    try:
        # By name, since redis-py is an optional extra.
        module = import_module("poolmgr.control.store.redis")
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            "POOLMGR['REDIS_URL'] is set, but redis is not installed: pip install redis"
        ) from error
    return cast("Callable[[str], FleetStore]", module.RedisStore)
