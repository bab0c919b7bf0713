"""Health checks of a target, and what is kept of them."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta

from django.utils import timezone

from poolmgr.control.access import control_transaction
from poolmgr.control.events import record
from poolmgr.control.reporting.beats import read_beats
from poolmgr.control.reporting.fleet import last_check
from poolmgr.control.reporting.probe import Probe
from poolmgr.metrics.snapshot import ProcessBeat
from poolmgr.models import Event, HealthCheck
from poolmgr.pools import registry
from poolmgr.targets.known import address_of, kind_named

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


def our_pids(target: str, beats: Iterable[ProcessBeat]) -> set[int]:
    """The server processes behind the fleet's pools to the server of ``target``, this process's own as of now.

    Of whatever target: two aliases of one server, or an engine beside them, are no strangers to each other.
    """
    places = _servers(address_of(target))
    own = tuple(pool.snapshot() for pool in registry.pools())
    return {
        pid
        for pool in (*own, *(pool for beat in beats for pool in beat.pools))
        if pool.target == target or places & _servers(pool.address)
        for pid in pool.backend_pids
    }


def _servers(address: str) -> set[str]:
    """Host and port of each that is in an address, as people read it."""
    return {place for each in address.split(", ") if (place := each.partition("/")[0])}


def pooler_pids(target: str, beats: Iterable[ProcessBeat]) -> set[int]:
    """The server processes of a pooler that is a target too and stands where ``target`` leads to, as it was seen last."""
    places = _servers(address_of(target))
    return {
        pid
        for beat in beats
        for pool in beat.pools
        if kind_named(pool.kind).elsewhere and places & _servers(pool.address)
        for pid in pool.backend_pids
    }


def store_check(check: HealthCheck) -> HealthCheck:
    """Save a result, and an event when the state is not that of the last one. Raises ``django.db.Error``."""
    with control_transaction() as alias:
        before = last_check(check.target)
        check.save(using=alias)
        check.is_news = check.state != (before.state if before else "ok")
        if before is None or before.state != check.state:
            was = f", was {before.state}" if before else ""
            record(Event.Kind.HEALTH, check.target, "", f"{check.state}{was}: {check.message}")
    return check


def is_due(target: str, interval: float) -> bool:
    """Whether the last stored check is ``interval`` seconds old. Raises ``django.db.Error``.

    One that was critical is soon repeated: where nobody uses the target, nothing else tells that the server is back.
    """
    before = last_check(target)
    if before is not None and before.state == "critical":
        interval = min(interval, AGAIN)
    return before is None or timezone.now() - before.at >= timedelta(seconds=interval)
