"""What can be read now: the fleet from its store, and what the rows of the control database add to it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace

from django.db import DatabaseError
from django.utils.translation import get_language
from django.utils.translation import gettext_lazy as _

from poolmgr.control.access import control_alias
from poolmgr.control.reach import Outage, lost, outage
from poolmgr.control.reporting.beats import Beats, read_beats, with_details
from poolmgr.control.reporting.fleet import Fleet, fleet_of, read_fleet
from poolmgr.control.reporting.looks import looks
from poolmgr.control.watching import records
from poolmgr.dashboard.drawing.strips import Strip, strips
from poolmgr.dashboard.lines.activity import CommandLine, EventLine, command_lines, event_lines
from poolmgr.dashboard.lines.wanted import Wanted
from poolmgr.dashboard.reading.chosen import chosen
from poolmgr.dashboard.reading.shared import Shared
from poolmgr.metrics.seen import Seen
from poolmgr.models import Episode

_ROWS_ALONE = _("Without Redis, heartbeats are in the control database too.")


@dataclass(frozen=True, slots=True)
class Picture:
    """``outage`` says why nothing of the control database is known, commands and events neither.

    Those are None for a reader who may not see them. ``going_on`` are episodes, which whoever may see events may see too.
    ``strips`` are each target's last hour. ``unread`` says of whom there is no report or no details of it, and is a reason
    of the fleet's not being well.
    """

    fleet: Fleet
    wanted: Wanted
    commands: tuple[CommandLine, ...] | None
    events: tuple[EventLine, ...] | None
    outage: Outage | None = None
    going_on: tuple[Episode, ...] = ()
    strips: Mapping[str, Strip] = field(default_factory=dict)
    unread: str = ""


#: The beats, and what was seen at the targets' servers.
_Beaten = tuple[Beats, Mapping[str, Seen]]
_Read = Callable[[bool], _Beaten]

_taken: Shared[Picture] = Shared()


def overview_picture(commands: bool, events: bool) -> Picture:
    """Of everything but what only a target's or a process's page tells, for a reader who may see ``commands`` and
    ``events``, or not; all of the same second share one.

    Raises ``django.db.Error`` where the control database answers, but not as it should.
    """
    return _shared("", commands, events, _read_overview)


def target_picture(target: str, commands: bool, events: bool) -> Picture:
    """The same of one target, with all details of it. Its fleet has no target where there is none of that name."""
    return _shared(target, commands, events, lambda rows: _read_target(target, rows))


def _shared(target: str, commands: bool, events: bool, read: _Read) -> Picture:
    # The lines are in the reader's language.
    key = (target, commands, events, get_language())
    return _taken.get(key, lambda: _take(target, commands, events, read))


def _take(target: str, commands: bool, events: bool, read: _Read) -> Picture:
    fleet, gone = _look(read, target)
    if gone is None:
        try:
            ordered = command_lines(fleet) if commands else None
            going_on = records.going_on()
            happened = event_lines() if events else None
            hour = strips([view.target for view in fleet.targets], episodes=events)
            unread = fleet.unread_error or _unread(going_on)
            return Picture(fleet, Wanted(), ordered, happened, None, going_on if events else (), hour, unread)
        except DatabaseError as error:
            if (gone := lost(control_alias(), error)) is None:
                raise
        fleet, gone = _look(read, target)
    nothing = () if commands else None, () if events else None
    return Picture(fleet, Wanted(known=False), *nothing, gone, unread=fleet.unread_error)


def _unread(going_on: Iterable[Episode]) -> str:
    """What whoever keeps the episodes found, who reads everybody's details."""
    return next((each.said("sentence") for each in going_on if each.family == "unreadable"), "")


def read_now(looked_at: bool = False, details: bool = True) -> tuple[Fleet, Outage | None]:
    """The fleet, and why the control database can't be read, if so; within a few seconds, whatever is away.

    With ``looked_at`` the targets' servers are looked at, for whoever reads who blocks whom there; a scraper doesn't.
    Without ``details`` of pools for whoever can do without.
    """
    return _look(lambda rows: _looked_at(read_beats(rows, details), looked_at))


def _read_target(target: str, rows: bool) -> _Beaten:
    # With the details of all who have it, over which uses and times are summed.
    beats = read_beats(rows, details=False)
    with_it = {beat.uid for beat in beats.processes if any(pool.target == target for pool in beat.pools)}
    return with_details(beats, with_it, target), looks.of(beats, target)


def _read_overview(rows: bool) -> _Beaten:
    beats, seen = _looked_at(read_beats(rows, details=False), True)
    return with_details(beats, chosen(beats, seen)), seen


def _look(read: _Read, target: str = "") -> tuple[Fleet, Outage | None]:
    """The fleet from what ``read`` finds, which is told whether rows can be read, and from the rows themselves."""
    gone = outage(control_alias())
    beats, seen = read(gone is None)
    if gone is None:
        return read_fleet(beats, seen, target), None
    if not beats.store and not beats.errors:
        beats = Beats((), "", (str(_ROWS_ALONE),))
    # Whoever noticed first: the processes of the fleet look every few seconds, this one when somebody looks at it.
    since = min([gone.since, *(beat.control_lost for beat in beats.processes if beat.control_lost)])
    return fleet_of(beats, None, {}, "", seen=seen, target=target), replace(gone, since=since)


def _looked_at(beats: Beats, wanted: bool) -> _Beaten:
    return beats, looks.of(beats) if wanted else {}
