"""What there is to read, as lines for people; what programs are told is in ``control/reporting/documents``."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from django.utils import timezone

from poolmgr.control.editing.consequences import CONFIRM, INFO, REFUSE, UNKNOWN, Foreseen
from poolmgr.control.reporting.advice import ADVICE
from poolmgr.control.reporting.documents import happened
from poolmgr.control.reporting.documents.holders import held
from poolmgr.control.reporting.documents.targets import views
from poolmgr.control.reporting.documents.why import HOLDERS, of_target
from poolmgr.control.reporting.documents.why import why as why_document
from poolmgr.control.reporting.fleet import Fleet
from poolmgr.control.watching import log, records
from poolmgr.management.terminal.acting import Edit
from poolmgr.management.terminal.tables import table
from poolmgr.metrics.words import span


def status_lines(fleet: Fleet, target: str = "") -> Iterator[str]:
    found = views(fleet, target)
    rows = [
        (
            view.verdict.state,
            view.target,
            role.role if role else "-",
            f"{role.used}/{role.capacity}" if role else "-",
            str(role.idle) if role else "-",
            str(role.pending) if role else "-",
            f"{len(role.full)}/{len(role.places)}" if role else "-",
        )
        for view in found
        for role in view.roles or (None,)
    ]
    yield from table(("STATE", "TARGET", "ROLE", "USED", "IDLE", "WAITING", "FULL"), rows, frozenset({3, 4, 5, 6}))
    yield ""
    yield from (f"{view.target}: {view.verdict.sentence}" for view in found if view.processes)
    yield from (sentence for sentence in (fleet.store_error, fleet.unread_error) if sentence)
    yield from map(str, fleet.troubles)


def holder_lines(fleet: Fleet, target: str = "", most: int | None = None) -> Iterator[str]:
    views(fleet, target)
    found = held(fleet, target)[:most]
    if not found:
        yield "Nobody holds a connection."
        return
    rows = [
        (
            span(each.holder.seconds),
            each.label,
            each.holder.state or "-",
            each.target,
            f"{each.beat.role} {each.beat.host}:{each.beat.pid}",
            str(each.holder.backend_pid or "-"),
            each.name or "-",
        )
        for each in found
    ]
    yield from table(("HELD", "BY", "STATE", "TARGET", "PROCESS", "SERVER", "NAME"), rows, frozenset({0, 5}))


def why(fleet: Fleet, target: str) -> dict[str, Any]:
    return why_document(fleet, target, records.going_on(), statements=True)


def why_lines(fleet: Fleet, target: str) -> Iterator[str]:
    """The verdict, what to look at, what to do, and who holds connections."""
    [view] = views(fleet, target)
    yield f"{target} is {view.verdict.state}: {view.verdict.sentence}"
    if (episode := of_target(records.going_on(), target)) and episode.why:
        yield f"Just before: {episode.why}"
    if entry := ADVICE.get(view.verdict.code):
        yield ""
        yield str(entry.means)
        yield ""
        yield "Look at:"
        yield from (f"  - {each}" for each in entry.look)
        yield "Do:"
        yield from (f"  {at}. {each}" for at, each in enumerate(entry.do, 1))
    yield ""
    yield from holder_lines(fleet, target, HOLDERS)


def events(limit: int) -> dict[str, Any]:
    """Episodes and events: what goes on, then the newest. Raises ``django.db.Error``."""
    found = log.search(log.Search(), size=limit)
    return happened.page(1, found.more, found.rows)


def edit_lines(made: Edit) -> Iterator[str]:
    if made.revision is None:
        yield f"{made.profile} has these settings already; nothing was changed."
        return
    changes = made.revision.changes.items()
    told = ", ".join(f"{name} {old} -> {new}" for name, (old, new) in changes if old is not None)
    yield f"Saved {made.profile}, revision {made.revision.number}: {told or 'created'}."
    yield from foreseen_lines(made.foreseen)


def foreseen_lines(foreseen: Foreseen) -> Iterator[str]:
    """What an edit leads to, or would."""
    marks = {INFO: " ", UNKNOWN: "?", CONFIRM: "!", REFUSE: "x"}
    yield from (f"{marks[each.severity]} {each.sentence}" for each in foreseen.consequences)


def event_lines(limit: int) -> Iterator[str]:
    rows = [
        (
            _clock(each["at"]),
            f"{each['kind']}, goes on" if each["goes_on"] else str(each["kind"]),
            each["target"] or "-",
            each["author"] or "-",
            each["message"] + (f" Just before: {each['just_before']}" if each["just_before"] else ""),
        )
        for each in events(limit)["events"]
    ]
    yield from table(("WHEN", "WHAT", "TARGET", "BY", ""), rows)


def _clock(at: float) -> str:
    return f"{datetime.fromtimestamp(at, timezone.get_current_timezone()):%Y-%m-%d %H:%M:%S}"
