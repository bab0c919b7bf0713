"""From a Django connection to the pool of its alias in this process."""

from __future__ import annotations

import sys
from typing import Any

from django.db import connections
from django.db.backends.base.base import NO_DB_ALIAS
from django.db.backends.postgresql import base as native

from poolmgr.backends.postgresql.greeting import Handing
from poolmgr.backends.postgresql.making import expect_names, make_pool
from poolmgr.pools import registry
from poolmgr.pools.forks import attend, here
from poolmgr.secrets import disarm
from poolmgr.targets.postgresql.asyncio.pool import AsyncPool
from poolmgr.targets.postgresql.elastic import ElasticPool
from poolmgr.targets.postgresql.handing import async_pool
from poolmgr.targets.postgresql.managed import ManagedPool
from poolmgr.targets.postgresql.parameters import address


class PoolOfAlias(native.DatabaseWrapper):
    """The part of ``Pooled`` that knows its pool."""

    _managed: ManagedPool | None
    _mode: str | None
    _direct: bool
    _greeting: Any

    @property
    def managed_pool(self) -> ManagedPool | None:
        """This alias's pool in this process, made at first use; None where the settings or the process want none."""
        if not here:
            attend()
        managed = self._managed
        if managed is None or managed.retired:
            managed = self._managed = self._find_pool()
        return managed

    @property
    def pool_for_tasks(self) -> AsyncPool | None:
        """The same pool for tasks of event loops; None where the settings or the process want none."""
        return None if self.managed_pool is None else async_pool(self.alias)

    @property
    def pool(self) -> ElasticPool | Handing | None:
        """What Django's own code looks at: the psycopg_pool, or None while the connection is a direct one."""
        if self._greeting is not None:
            return Handing(self)
        managed = None if self._direct else self.managed_pool
        return None if managed is None else managed.pool

    @property
    def pool_mode(self) -> str:
        """The mode of the work under way: ``session``, ``transaction`` or ``statement``."""
        managed = self.managed_pool
        return self._mode or ("session" if managed is None else managed.spec.pool_mode)

    def _find_pool(self) -> ManagedPool | None:
        return find_pool(type(self), self)

    def check_settings(self) -> None:
        """As Django's, before each connect and pool; raises ``ConfigurationError`` too, for a URL in the place of a name."""
        super().check_settings()
        expect_names(self.settings_dict, f"DATABASES[{self.alias!r}]")

    def close_pool(self) -> None:
        """Close this alias's pool; the next query makes a new one.

        Celery's Django fixup calls this around every task, so as not to share a native pool with the children it forks.
        Ours are dropped by the child itself, so that call has nothing to do.
        """
        if not sys._getframe(1).f_globals.get("__name__", "").startswith("celery."):
            registry.close(self.alias)


def find_pool(wrapper_class: Any, asking: Any) -> ManagedPool | None:
    """The pool of a wrapper's database in this process, made where there is none by a ``wrapper_class`` of its own.

    None where the settings or the process want none. Its settings are no local here: an error's frames would show them.
    """
    alias = asking.alias
    if asking.settings_dict["OPTIONS"].get("pool", True) is False or alias == NO_DB_ALIAS or registry.abstains():
        return None
    found = registry.get(alias)
    if found is not None and found.address != address(asking.settings_dict):
        if asking.settings_dict is not connections.settings.get(alias):
            return None  # another database under a borrowed alias
        registry.close(alias)

    def make() -> ManagedPool:
        try:
            return make_pool(wrapper_class(asking.settings_dict, alias))
        except Exception as ex:
            disarm(ex)  # the frames below hold the settings
            raise

    made = registry.get_or_make(alias, make)
    return made if isinstance(made, ManagedPool) else None
