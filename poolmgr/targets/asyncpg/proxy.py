"""What a borrower has in their hands: asyncpg's own stand-in for a connection of a pool, dead after the release."""

from __future__ import annotations

import inspect
from functools import partial
from typing import Any

from asyncpg.pool import PoolConnectionProxy

from poolmgr.pools.core.slot import Slot
from poolmgr.targets.asyncpg.connection import Tracked
from poolmgr.targets.asyncpg.library import asyncpg
from poolmgr.targets.asyncpg.resources import looking_when_it_begins


class Lent(PoolConnectionProxy):  # type: ignore[misc]
    """Of one checkout, whose ``epoch`` of the ``slot`` it is. ``front`` is the pool that it was acquired from."""

    __slots__ = ("__weakref__", "epoch", "front", "slot")

    def __init__(self, slot: Slot, front: Any) -> None:
        self.slot = slot
        self.epoch = slot.epoch
        self.front = front
        self._con = slot.conn  # type: ignore[misc]
        slot.conn._set_proxy(self)

    def __del__(self) -> None:
        # Dropped: it is taken back when nobody refers to the connection, as a transaction of its does.
        if (con := self._con) is not None:
            con._top_xact = None

    @property
    def _holder(self) -> Lent:
        """asyncpg's, before 0.32, which it tells of an end."""
        return self

    def _release_on_close(self) -> None:
        """The pool finds out by itself."""

    def terminate(self) -> None:
        """asyncpg's."""
        if self._con is not None:
            self._con.expect_its_loop()
        super().terminate()

    def _look(self, name: str) -> None:
        """Raises asyncpg's error once it is over."""
        if self._con is None:
            getattr(PoolConnectionProxy, name)(self)

    def _lost(self, error: Exception) -> None:
        if (con := self._con) is not None:
            con.lost(error)

    def end(self) -> Tracked:
        """Be over, for whoever has it still."""
        con: Tracked = self._detach()
        con.end_checkout()
        return con


for _name in dir(asyncpg.Connection):
    if not _name.startswith("_") and inspect.iscoroutinefunction(getattr(asyncpg.Connection, _name)):
        _theirs = getattr(PoolConnectionProxy, _name)
        setattr(Lent, _name, looking_when_it_begins(_theirs, partial(Lent._look, name=_name), Lent._lost))
