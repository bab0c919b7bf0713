"""Who has a server's slots while it lets nobody in: looked at over a connection that a pool has still.

A look of its own is refused then, and who looks on may have come too late to have seen it fill up. So the agent of a
process whose pool is refused too, and has a connection, has it asked there, and tells all by the note that looks share.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from threading import Thread
from time import monotonic

from poolmgr.control.reporting.beats import read_beats
from poolmgr.control.reporting.looks import KEPT, PATIENCE, SHARED, looks, note_name, note_store, seen_by
from poolmgr.control.reporting.ours import our_pids_by_target
from poolmgr.control.reporting.probe import silence
from poolmgr.control.store import StoreDown
from poolmgr.identity import process_uid
from poolmgr.metrics.snapshot import PoolSnapshot
from poolmgr.metrics.words import NO_SLOT
from poolmgr.pools.looking import InnerProber, Look
from poolmgr.pools.port import Pool
from poolmgr.targets.known import address_of, inner_prober, kind_named

#: Seconds until the next try after one in vain: whoever borrows for it keeps a request from a connection.
_AGAIN = 15.0


class Within:
    """Used by the agent's thread, which it never keeps."""

    def __init__(self) -> None:
        self._due: dict[str, float] = {}

    def turn(self, pools: Mapping[Pool, PoolSnapshot]) -> None:
        """Have looked at what lets nobody in. Never raises."""
        for pool, told in pools.items():
            if NO_SLOT in told.last_error.lower() and told.idle + told.used and monotonic() >= self._next(pool.target):
                self._begin(pool)

    def _next(self, target: str) -> float:
        return self._due.get(target, 0.0)

    def _begin(self, pool: Pool) -> None:
        with suppress(ImportError):
            ask = inner_prober(kind_named(pool.kind))
            if ask is not None and self._leads(pool.target):
                self._due[pool.target] = monotonic() + _AGAIN
                Thread(target=self._look, args=(pool, ask), name="poolmgr-look", daemon=True).start()

    def _leads(self, target: str) -> bool:
        """Whether nobody else is at it; without a store that keeps notes each looks for itself."""
        store = note_store()
        try:
            return store is None or store.lead(f"{note_name(target)} within", process_uid(), SHARED)
        except StoreDown:
            return True

    def _look(self, pool: Pool, ask: InnerProber) -> None:
        look = Look(address_of(pool.target))
        with suppress(Exception):  # no connection came free: the next one tries again
            ask(pool, look, monotonic() + PATIENCE, silence())
            seen = seen_by(look, our_pids_by_target(pool.target, read_beats(details=False).processes))
            looks.take(pool.target, seen)
            self._due[pool.target] = monotonic() + SHARED
            if (store := note_store()) is not None:
                store.note(note_name(pool.target), seen.to_text(), KEPT)
