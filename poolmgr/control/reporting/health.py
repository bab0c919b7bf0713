"""Health checks of a target, and what is kept of them."""

from __future__ import annotations

from datetime import timedelta

from django.utils import timezone

from poolmgr.control.access import control_transaction
from poolmgr.control.events import record
from poolmgr.control.reporting.beats import read_beats
from poolmgr.control.reporting.fleet import last_check
from poolmgr.control.reporting.ours import our_pids, pooler_pids
from poolmgr.control.reporting.probe import Probe
from poolmgr.metrics.phrases import as_phrase, phrase
from poolmgr.models import Event, HealthCheck

#: Seconds until a target that was critical is checked again: a little less than lies between two of Celery's ticks.
AGAIN = 4.0


def check_target(target: str, timeout: float = 5.0, query: str | None = None) -> HealthCheck:
    """Check a target by a connection of its own, within about ``timeout`` seconds: an unsaved result. Never raises.

    ``query`` is the validation query, by default that of this process's pool or of the bootstrap settings.
    """
    probe = Probe(target, timeout, lambda: query)
    beats = read_beats()
    all_known = not beats.errors and not beats.unread
    processes = beats.processes if all_known else None
    return probe.result(our_pids(target, beats.processes), processes, pooler_pids(target, beats.processes))


def store_check(check: HealthCheck) -> HealthCheck:
    """Save a result, and an event when the state is not that of the last one. Raises ``django.db.Error``."""
    with control_transaction() as alias:
        before = last_check(check.target)
        check.save(using=alias)
        check.is_news = check.state != (before.state if before else "ok")
        if before is None or before.state != check.state:
            record(Event.Kind.HEALTH, check.target, "", _change(check, before))
    return check


def _change(check: HealthCheck, before: HealthCheck | None) -> str:
    now = as_phrase(check.state)
    if before is None:
        return phrase("%(state)s: %(said)s", state=now, said=check.sentence)
    was = as_phrase(before.state)  # which a row may have from SQL
    return phrase("%(state)s, was %(before)s: %(said)s", state=now, before=was, said=check.sentence)


def is_due(target: str, interval: float) -> bool:
    """Whether the last stored check is ``interval`` seconds old. Raises ``django.db.Error``.

    One that was critical is soon repeated: where nobody uses the target, nothing else tells that the server is back.
    """
    before = last_check(target)
    if before is not None and before.state == "critical":
        interval = min(interval, AGAIN)
    return before is None or timezone.now() - before.at >= timedelta(seconds=interval)
