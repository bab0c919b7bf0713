"""From a task's Django connection to the pool of its alias in this process, and what the settings say of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any
from weakref import ref

from django.db.backends.postgresql.psycopg_any import IsolationLevel
from django.db.utils import load_backend
from django.utils.functional import cached_property
from django_async_backend.db import async_connections
from django_async_backend.db.backends.postgresql import async_base as theirs

from poolmgr.backends.async_postgresql.threads import is_for_tasks
from poolmgr.backends.postgresql.finding import find_pool
from poolmgr.backends.postgresql.making import expect_names, isolation_level
from poolmgr.exceptions import ConfigurationError
from poolmgr.pools import registry
from poolmgr.pools.forks import attend, here
from poolmgr.targets.postgresql.asyncio.pool import AsyncPool
from poolmgr.targets.postgresql.managed import ManagedPool


class PoolOfAlias(theirs.AsyncDatabaseWrapper):  # type: ignore[misc]
    """The part of ``AsyncDatabaseWrapper`` that knows its pool."""

    _mode: str | None
    _task: asyncio.Task[Any] | None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._managed: ManagedPool | None = None
        self._lends = AsyncPool(_finder(ref(self)))

    @staticmethod
    def of_task(alias: str) -> Any:
        """That of the running task."""
        return async_connections[alias]

    @property
    def managed_pool(self) -> ManagedPool | None:
        """This alias's pool in this process, made at first use; None where the settings or the process want none."""
        if not here:
            attend()
        managed = self._managed
        if managed is None or managed.retired:
            managed = self._managed = find_pool(self._threads_wrapper, self)
        return managed

    @property
    def _threads_wrapper(self) -> Any:
        """The class of the half for threads, which may be the site's own."""
        return load_backend(self.settings_dict["ENGINE"]).DatabaseWrapper

    @property
    def pool(self) -> AsyncPool | None:
        """What the package's code looks at; None where there is no pool."""
        return None if self.managed_pool is None else self._lends

    async def close_pool(self) -> None:
        """Close this alias's pool, for threads too; the next query makes a new one."""
        await asyncio.to_thread(registry.close, self.alias)

    @property
    def pool_mode(self) -> str:
        """The mode of the work under way: ``session``, ``transaction`` or ``statement``."""
        managed = self.managed_pool
        return self._mode or ("session" if managed is None else managed.spec.pool_mode)

    @cached_property
    def isolation_level(self) -> IsolationLevel:
        """As the package's, which sets it at connect: here the pool has done so."""
        return isolation_level(self) or IsolationLevel.READ_COMMITTED

    @property
    def cursor_factory(self) -> Any:
        """Of ``OPTIONS``, where that is one for tasks."""
        options = self.settings_dict["OPTIONS"]
        if is_for_tasks(given := options.get("cursor_factory")):
            return given
        return theirs.AsyncServerBindingCursor if options.get("server_side_binding") is True else theirs.AsyncCursor

    def check_settings(self) -> None:
        super().check_settings()
        expect_names(self.settings_dict, f"DATABASES[{self.alias!r}]")


def _finder(wrapper: ref[PoolOfAlias]) -> Callable[[], ManagedPool]:
    """By which a wrapper's ``AsyncPool`` finds its pool without keeping the wrapper: one that is dropped is gone at once."""

    def find() -> ManagedPool:
        it = wrapper()
        managed = None if it is None else it.managed_pool
        if managed is None:
            raise ConfigurationError("this database has no pool")
        return managed

    return find
