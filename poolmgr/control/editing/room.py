"""What the server of a target has room for, and what it says to a new validation query, by a connection that is no pool's."""

from __future__ import annotations

from collections.abc import Collection
from datetime import timedelta

from django.db.utils import Error as DatabaseError
from django.utils import timezone
from django.utils.translation import gettext as _

from poolmgr.control.access import sheltered
from poolmgr.control.editing.outlook import Room, Tried
from poolmgr.control.reporting.fleet import last_check
from poolmgr.control.reporting.ours import our_pids, our_pids_by_target, pooler_pids
from poolmgr.control.reporting.probe import Probe
from poolmgr.control.reporting.spoken import spoken
from poolmgr.metrics.snapshot import ProcessBeat
from poolmgr.models import HealthCheck
from poolmgr.targets.known import kind_of

#: A stored check this old says too little of the server's present load.
_FRESH = timedelta(seconds=60)
#: Seconds that a form may wait for an answer of the server.
_PATIENCE = 2.0


def ask_server(target: str, beats: Collection[ProcessBeat], query: str = "") -> tuple[Room, Tried | None]:
    """The room for the pools of ``target``, and what came of trying ``query``, where one is given. Never raises.

    The server is asked unless somebody has just done so; it has two seconds.
    """
    kind = kind_of(target)
    if kind is None:
        gone = _("the settings name no such target.")
        return Room(unknown=gone), Tried(query, unknown=gone) if query else None
    if not query and (check := _stored(target)) is not None:
        return _room(check, beats), None
    probe = Probe(target, _PATIENCE, lambda: query)
    check = probe.result(our_pids(target, beats), None, pooler_pids(target, beats))
    return _room(check, beats), _tried(query, probe.query_error, check) if query else None


def _stored(target: str) -> HealthCheck | None:
    try:
        with sheltered():
            check = last_check(target)
    except DatabaseError:
        return None
    fresh = check is not None and check.server_max is not None and timezone.now() - check.at < _FRESH
    return check if fresh else None


def _room(check: HealthCheck, beats: Collection[ProcessBeat]) -> Room:
    if check.behind_pooler:
        return Room(unknown=_("a pooler stands before it, whose own sizes bound what reaches it."))
    if check.server_max is None or check.server_used is None:
        silent = check.state == "critical"
        return Room(unknown=spoken(check.sentence) if silent else _("it does not tell how many connections it takes."))
    siblings = sum(len(pids) for name, pids in our_pids_by_target(check.target, beats).items() if name != check.target)
    others = max(0, check.server_used - (check.ours or 0)) + siblings
    return Room(check.server_max, check.server_reserved or 0, others)


def _tried(query: str, error: str | None, check: HealthCheck) -> Tried:
    if error is not None:
        return Tried(query, refused=error)
    asked = check.state != "critical"
    return Tried(query, unknown=_("no look at a server of this kind asks it.") if asked else spoken(check.sentence))
