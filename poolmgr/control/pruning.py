"""Rows that are older than they are kept for. It may run twice at once."""

from __future__ import annotations

from datetime import timedelta

from django.db.models import Max
from django.utils import timezone

from poolmgr.conf import conf
from poolmgr.control.access import control_alias, from_now
from poolmgr.control.store.reading import TOLD_KEPT, TOTALS_KEPT
from poolmgr.models import Command, Episode, Event, HealthCheck, Message, Summed, Told

#: Seconds for which health checks are kept: samples have the figures of longer ago.
_CHECKS_KEPT = 7 * 86_400.0


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
