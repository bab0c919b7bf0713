"""What the fleet needs done now and then: checks, and clearing away who died. All of it may run twice at once."""

from __future__ import annotations

import logging

from poolmgr.control.access import control_transaction, try_lock
from poolmgr.control.desired import check_intervals, read_profiles, validation_queries
from poolmgr.control.events import record_dead
from poolmgr.control.reporting.health import check_target, is_due, store_check
from poolmgr.control.store import get_store, live_uids
from poolmgr.control.store.database import DatabaseStore
from poolmgr.models import HealthCheck
from poolmgr.pools.spec import PoolSpec
from poolmgr.targets.known import bootstrap_spec, known_targets

log = logging.getLogger("poolmgr.tasks")

#: A check this many seconds old is as good as a new one: the same task sent twice makes one row.
_JUST = 0.5


def check_and_store(target: str) -> HealthCheck | None:
    """Check a target and keep the result; None when somebody is at it or just was. Raises ``django.db.Error``."""
    with control_transaction():
        if not try_lock(f"check:{target}") or not is_due(target, _JUST):
            return None
        query = validation_queries(read_profiles()).get(target)
        return store_check(check_target(target, query=query))


def targets_due() -> tuple[str, ...]:
    """Targets whose last check is older than the interval in force. Raises ``django.db.Error``."""
    intervals = _intervals()
    return tuple(target for target in known_targets() if is_due(target, intervals[target]))


def _intervals() -> dict[str, float]:
    """Seconds between checks by target: the shortest that an enabled profile asks for, else the bootstrap settings'."""
    found = {target: bootstrap_spec(target) or PoolSpec() for target in known_targets()}
    asked = check_intervals(read_profiles())
    return {target: asked.get(target, spec.health_check_interval) for target, spec in found.items()}


def sweep() -> tuple[str, ...]:
    """Clear away processes that died without a word, with an event for each. Raises ``django.db.Error``, ``StoreDown``."""
    store = get_store()
    # What a process that went to the other store left in this one grows old, and means nothing.
    live = live_uids()
    swept = dict.fromkeys((*store.sweep(), *(DatabaseStore().sweep() if store.pushes else ())))
    dead = tuple(uid for uid in swept if uid not in live)
    record_dead(dead)
    return dead
