"""A PgBouncer as an immutable snapshot: the sums of its processes."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from poolmgr.metrics import slots
from poolmgr.metrics.phrases import phrase
from poolmgr.metrics.snapshot import Holder, Part, PoolSnapshot
from poolmgr.pools.snapshots import HOLDERS, settings, status
from poolmgr.targets.pgbouncer.picture import Picture, Sums
from poolmgr.targets.pgbouncer.words import fields_of

if TYPE_CHECKING:
    from poolmgr.targets.pgbouncer.pool import BouncerPool


def snapshot(pool: BouncerPool) -> PoolSnapshot:
    """What was seen last; of an instance whose console does not answer nothing is known, and why not is told."""
    seen = [each.picture for each in pool.instances if each.picture is not None and not each.silence]
    silent = [each for each in pool.instances if each.silence]
    last = max(silent, key=lambda each: each.error_at, default=None)
    recent = sum((each.recent() for each in pool.instances), Sums(assigned=0))
    held = _held(seen)
    return PoolSnapshot(
        target=pool.target,
        kind=pool.kind,
        address=pool.address,
        at=time.time(),
        status=status(pool.retired, pool.paused),
        generation=pool.generation,
        limit=sum(each.capacity for each in seen),
        **_settings(pool, seen),
        idle=sum(each.idle for each in seen),
        used=sum(each.used for each in seen),
        opening=sum(each.opening for each in seen),
        pending=sum(each.pending for each in seen),
        oldest_wait=max((each.oldest_wait for each in seen), default=0.0),
        oldest_checkout=held[0].seconds if held else 0.0,
        slots=slots.encoded((each.seconds, each.state) for each in held),
        holders=held[:HOLDERS],
        parts=_parts(pool.databases, seen),
        backend_pids=tuple(pid for each in seen for pid in each.pids),
        checkouts=sum(each.sums.transactions for each in seen),
        recent_checkouts=recent.transactions,
        recent_means=_means(recent),
        last_error=phrase("PgBouncer at %(address)s: %(error)s", address=last.address, error=last.silence)
        if last
        else "",
        last_error_at=time.time() - (time.monotonic() - last.error_at) if last and last.error_at else 0.0,
    )


def _held(seen: list[Picture]) -> tuple[Holder, ...]:
    return tuple(sorted((held for each in seen for held in each.holders), key=lambda held: -held.seconds))


def _parts(names: tuple[str, ...], seen: list[Picture]) -> tuple[Part, ...]:
    found = [each for picture in seen for each in picture.databases]
    return tuple(
        Part(
            name,
            any(each.paused for each in found if each.name == name),
            any(each.disabled for each in found if each.name == name),
        )
        for name in names
    )


def _settings(pool: BouncerPool, seen: list[Picture]) -> dict[str, Any]:
    """What is in force: of a profile all, else what PgBouncer has."""
    found = settings(pool.in_force)
    if seen and not pool.in_force.revision:
        theirs = fields_of(seen[0].config, pool.parts)
        found["settings"] = {**found["settings"], **theirs}
        found |= {name: theirs[name] for name in found.keys() & theirs.keys()}
    return found


def _means(recent: Sums) -> dict[str, float]:
    """Seconds. How long whoever waited did can't be said before version 1.23, which counts them."""
    found = {}
    if recent.assigned:
        found["wait"] = recent.wait / recent.assigned
    if recent.transactions:
        found["use"] = recent.use / recent.transactions
    return found
