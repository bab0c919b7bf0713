"""How SQLAlchemy's sync code awaits."""

from __future__ import annotations

from typing import Any

from sqlalchemy.util import await_only, concurrency, greenlet_spawn

from poolmgr.pools.aio.pool import LoopPool
from poolmgr.pools.core import validation
from poolmgr.pools.core.slot import Slot

__all__ = ["GreenletPool", "await_only", "greenlet_spawn", "in_greenlet"]

in_greenlet: Any = concurrency.in_greenlet


class GreenletPool(LoopPool):
    """An event loop's pool that is called as a thread's is, in a greenlet of SQLAlchemy's."""

    def _checkout_slowly(self, asked: float, timeout: float | None) -> Slot:
        slot: Slot = await_only(self._acheckout_slowly(asked, timeout))
        return slot

    def _is_fit(self, slot: Slot, now: float, timeout: float | None) -> bool:
        epoch = slot.epoch
        try:
            fault = validation.look(self, slot, now)
            if fault == validation.DOUBTFUL:
                fault = await_only(self._answer(slot, validation.seconds_for(self, timeout)))
        except BaseException:  # the borrower was cancelled, or is in no greenlet
            self.put_back(slot, False, epoch)
            raise
        if fault:
            self._drop(slot, fault)
        return not fault
