"""What a pool notes and tells the log by itself: that its server is away, and who holds a connection for too long."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from time import monotonic

from poolmgr.pools.diagnosis import diagnose
from poolmgr.pools.owners import stack_of, who
from poolmgr.targets.postgresql.state import PoolState

logger = logging.getLogger("poolmgr.pool")


def note_connect(state: PoolState, seconds: float, error: Exception | None) -> None:
    """A connect has come to its end, well or not."""
    found, line = None if error is None else diagnose(error), ""
    with state._lock:
        if found is None:
            state.create_time.add(seconds)
            state.counts["created"] += 1
            now = monotonic()
            state.outage.succeeded(now, now - seconds)
        else:
            state.counts["create_errors"] += 1
            line = state.outage.failed(found, monotonic())
    if line:
        logger.warning("pool %r: %s", state.target, line)


def tell_of_outage(state: PoolState, now: float) -> None:
    with state.pool._lock:
        line = state.outage.over(now)
    if line:
        logger.warning("pool %r: %s", state.target, line)


def tell_of_traces(state: PoolState, pins: Iterable[str]) -> None:
    """A borrower has left session state behind a pooler, which nobody takes away there: said once for each reason."""
    with state.pool._lock:
        new = sorted({*pins} - state.told_traces)
        state.told_traces.update(new)
    if new:
        logger.warning(
            "pool %r: a borrower behind a pooler has left session state (%s). Its connection is replaced; unless the pooler"
            " pools by session, the state may stay on a server connection that anybody gets.",
            state.target,
            ", ".join(new),
        )


def report_leaks(state: PoolState, now: float) -> None:
    threshold = state.spec.leak_threshold
    if not threshold:
        return
    with state.pool._lock:
        late = [(c.entry, c.entry.owner, c.entry.label) for c in state.out if now - c.entry.since > threshold]
    for entry, owner, label in late:
        if owner is None or entry.leak_reported == entry.epoch:
            continue
        entry.leak_reported = entry.epoch
        state.count(leaks=1)
        logger.warning(
            "pool %r: %s has held connection %s for %.1f s (leak_threshold %g s); it is now at\n%s",
            state.target,
            who(owner, label),
            entry.pid or "of a pooler",
            now - entry.since,
            threshold,
            stack_of(owner) or "(no stack)",
        )
