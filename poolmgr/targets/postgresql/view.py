"""A pool as an immutable snapshot."""

from __future__ import annotations

import time
from typing import Any, NamedTuple

from poolmgr.metrics.snapshot import PoolSnapshot
from poolmgr.pools.diagnosis import diagnose
from poolmgr.pools.snapshots import ENDED, Held, checked_out, failure, recent, settings, status
from poolmgr.pools.sql.statements import told_statement
from poolmgr.pools.sql.states import state_of
from poolmgr.targets.postgresql.connection import PooledConnection
from poolmgr.targets.postgresql.state import PoolState

_COUNTERS = (
    "timeouts", "checkout_errors", "created", "create_errors", "closed", "found_dead", "cleaned", "reclaimed", "leaks",
    "refused",
)  # fmt: skip


class _Doing(NamedTuple):
    """What a connection that is checked out is at; ``query`` as a cursor was given it, None before the first."""

    pins: tuple[str, ...]
    query: Any


def snapshot(state: PoolState, uses: bool = True) -> PoolSnapshot:
    """What ``state`` looks like now; without ``uses`` for whom it was used is not counted up."""
    pool, now = state.pool, time.monotonic()
    with pool._lock:
        held = [held_by(conn) for conn in state.out if conn.entry.owner is not None]
        idle_pids = [conn.entry.pid for conn in pool._pool]
        counts: dict[str, Any] = {name: state.counts[name] for name in _COUNTERS}
        pins = dict(state.pins)
        wait, use, create = (each.freeze() for each in (state.wait_time, state.use_time, state.create_time))
        before = state.history.since(now)
        if uses:
            state.uses.parts((conn.entry for conn in state.out), now, 0.0)
        opening = max(0, pool.present - len(pool._pool) - len(state.out) - len(pool.resting))
        closing, left_behind = len(pool.leaving), pool.left_behind
        waiting: Any = pool._waiting
        pending, first, limit = len(waiting), waiting[0].since if waiting else now, pool._max_size
        missed = state.misses.told(now, counts["timeouts"])
        error, error_at = pool.last_error, pool.last_error_at
    return PoolSnapshot(
        target=state.target,
        kind=state.kind,
        address=state.address,
        at=time.time(),
        status=status(state.retired, pool.paused),
        generation=pool.generation,
        limit=limit,
        **settings(state.desired),
        idle=len(idle_pids),
        used=len(held),
        pending=pending,
        opening=opening,
        closing=closing,
        oldest_wait=now - first,
        **checked_out(held, now, told_of),
        backend_pids=tuple(sorted(pid for pid in (*idle_pids, *(each.pid for each in held)) if pid)),
        behind_pooler=pool.behind_pooler,
        checkouts=wait.count - counts["timeouts"],
        left_behind=left_behind,
        pins=pins,
        wait_time=wait,
        use_time=use,
        uses=state.uses.told(now) if uses else (),
        create_time=create,
        **missed,
        **recent((wait, use, counts["timeouts"], counts["refused"]), before),
        **failure("" if error is None else diagnose(error).sentence, now - error_at),
        **counts,
    )


def held_by(conn: PooledConnection) -> Held:
    """Called with the lock held, under which no question goes to the server."""
    entry = conn.entry
    doing = _Doing(tuple(entry.pins), entry.told())
    state = ENDED if entry.is_ended else state_of(conn.pgconn.transaction_status)
    return Held(entry.owner, entry.label, entry.since, entry.pid, doing, state, entry.checkout)


def told_of(doing: _Doing) -> dict[str, str]:
    return {
        "pinned": ", ".join(sorted(doing.pins)),
        "statement": "" if doing.query is None else told_statement(doing.query),
    }
