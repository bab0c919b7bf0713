"""What the fleet needs done now and then: checks and tidying up. All of it may run twice at once."""

from __future__ import annotations

import logging
from datetime import timedelta

from django.db.models import Max
from django.utils import timezone

from poolmgr.conf import conf
from poolmgr.control.access import control_alias, control_transaction, from_now, try_lock
from poolmgr.control.desired import check_intervals, read_profiles, validation_queries
from poolmgr.control.events import record_dead
from poolmgr.control.reporting.health import check_target, is_due, store_check
from poolmgr.control.store import get_store, live_uids
from poolmgr.control.store.database import DatabaseStore
from poolmgr.control.store.reading import TOLD_KEPT, TOTALS_KEPT
from poolmgr.models import Command, Episode, Event, HealthCheck, Message, Summed, Told
from poolmgr.pools.spec import PoolSpec
from poolmgr.targets.known import bootstrap_spec, known_targets

log = logging.getLogger("poolmgr.tasks")

#: Seconds for which health checks are kept: samples have the figures of longer ago.
_CHECKS_KEPT = 7 * 86_400.0
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


def prune() -> int:
    """Delete what is older than its retention; how many rows went. Raises ``django.db.Error``."""
    alias, now = control_alias(), timezone.now()
    old = now - timedelta(seconds=min(conf().SAMPLE_RETENTION, _CHECKS_KEPT))
    # The last pause, resume or kill of a target holds, or of its database, however old it is.
    holds = Command.objects.using(alias).filter(kind__in=Command.HOLDS).order_by()
    last = list(holds.values("target", "database", "process").annotate(last=Max("id")).values_list("last", flat=True))
    forgotten = now - timedelta(seconds=conf().EVENT_RETENTION)
    gone = (
        HealthCheck.objects.using(alias).filter(at__lt=old),
        Command.objects.using(alias).filter(expires_at__lt=old).exclude(pk__in=last),
        Message.objects.using(alias).filter(until__lt=now),
        Event.objects.using(alias).filter(at__lt=forgotten),
        # One that goes on is seen again and again.
        Episode.objects.using(alias).filter(seen_at__lt=forgotten),
        # By the server's clock, which set them.
        Told.objects.using(alias).filter(at__lt=from_now(-timedelta(seconds=TOLD_KEPT))),
        Summed.objects.using(alias).filter(at__lt=from_now(-timedelta(seconds=TOTALS_KEPT))),
    )
    return sum(rows.delete()[0] for rows in gone)


def sweep() -> tuple[str, ...]:
    """Clear away processes that died without a word, with an event for each. Raises ``django.db.Error``, ``StoreDown``."""
    store = get_store()
    # What a process that went to the other store left in this one grows old, and means nothing.
    live = live_uids()
    swept = dict.fromkeys((*store.sweep(), *(DatabaseStore().sweep() if store.pushes else ())))
    dead = tuple(uid for uid in swept if uid not in live)
    record_dead(dead)
    return dead
