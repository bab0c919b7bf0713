"""A pool as an immutable snapshot."""

from __future__ import annotations

import time
from functools import partial
from typing import Any

from poolmgr.metrics.snapshot import PoolSnapshot
from poolmgr.pools import checkouts
from poolmgr.pools.checkouts import NOTHING_RUNS, Checkout, LeftAlone
from poolmgr.pools.core.slot import Slot
from poolmgr.pools.core.state import State
from poolmgr.pools.entry import parsed
from poolmgr.pools.snapshots import ENDED, Held, checked_out, failure, holder, recent, settings, status
from poolmgr.pools.stopping import Stop

_COUNTERS = (
    "timeouts", "checkout_errors", "created", "create_errors", "closed", "found_dead", "left_behind", "cleaned",
    "reclaimed", "leaks",
)  # fmt: skip


def snapshot(state: State, uses: bool = True) -> PoolSnapshot:
    """What ``state`` looks like now; without ``uses`` for whom it was used is not counted up."""
    now = time.monotonic()
    with state.lock:
        held = [_held(state, slot) for slot in state.out]
        idle_ids = [slot.pid for slot in state.idle]
        counts: dict[str, Any] = {name: state.counts[name] for name in _COUNTERS}
        wait, use, create = (each.freeze() for each in (state.wait_time, state.use_time, state.create_time))
        before = state.history.since(now)
        if uses:
            state.uses.parts(state.out, now, 0.0)
        opening = max(0, state.present - len(state.idle) - len(state.out))
        closing, pending, limit = len(state.leaving), len(state.waiting), state.most
        first = state.waiting[0].since if state.waiting else now
        missed = state.misses.told(now, counts["timeouts"])
        error, error_at = state.last_error, state.last_error_at
        generation, paused, retired = state.generation, state.paused, state.retired
        desired = state.desired
    return PoolSnapshot(
        target=state.target,
        kind=state.kind,
        address=state.address,
        at=time.time(),
        status=status(retired, paused),
        generation=generation,
        limit=limit,
        **settings(desired),
        idle=len(idle_ids),
        used=len(held),
        pending=pending,
        opening=opening,
        closing=closing,
        oldest_wait=now - first,
        **checked_out(held, now, lambda conn: _told(state, conn)),
        backend_pids=tuple(sorted(pid for pid in (*idle_ids, *(each.pid for each in held)) if pid)),
        behind_pooler=state.behind_pooler,
        checkouts=wait.count - counts["timeouts"],
        wait_time=wait,
        use_time=use,
        uses=state.uses.told(now) if uses else (),
        create_time=create,
        **missed,
        **recent((wait, use, counts["timeouts"], 0), before),
        **failure("" if error is None else state.driver.diagnose(error).sentence, now - error_at),
        **counts,
    )


def _held(state: State, slot: Slot) -> Held:
    doing = ENDED if slot.is_ended else state.driver.doing(slot.conn)
    return Held(slot.owner, slot.label, slot.since, slot.pid, slot.conn, doing, slot.checkout)


def _told(state: State, conn: Any) -> dict[str, str]:
    return {"pinned": state.driver.standing(conn)}


def checkout(state: State, name: str) -> Checkout | None:
    """The one of this name, if it is under way."""
    number, epoch = parsed(name)
    with state.lock:
        slot = next((slot for slot in state.out if slot.has(number, epoch)), None)
        if slot is None:
            return None
        held = _held(state, slot)
    return Checkout(
        holder(held, time.monotonic(), _told(state, slot.conn)),
        held.owner,
        partial(checkouts.cancel, state.lock, slot, epoch, partial(_stop, state, slot)),
        partial(checkouts.end, state.lock, slot, epoch, lambda: state.driver.sever(slot.conn)),
    )


def _stop(state: State, slot: Slot) -> Stop:
    stop = state.driver.stop(slot.conn)
    if stop is None:
        raise LeftAlone(NOTHING_RUNS)
    return stop
