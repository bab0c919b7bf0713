"""What can be read now: the fleet from its store, and what the rows of the control database add to it."""

from __future__ import annotations

from dataclasses import dataclass, replace

from django.db import DatabaseError
from django.utils.translation import gettext_lazy as _

from poolmgr.control.access import control_alias
from poolmgr.control.reach import Outage, lost, outage
from poolmgr.control.reporting.beats import Beats, read_beats
from poolmgr.control.reporting.fleet import Fleet, fleet_of, read_fleet
from poolmgr.control.reporting.looks import looks
from poolmgr.control.watching import records
from poolmgr.dashboard.activity import CommandLine, EventLine, command_lines, event_lines
from poolmgr.dashboard.wanted import Wanted
from poolmgr.models import Episode

_ROWS_ALONE = _("Without Redis, heartbeats are in the control database too.")


@dataclass(frozen=True, slots=True)
class Picture:
    """``outage`` says why nothing of the control database is known, commands and events neither.

    Those are None for a reader who may not see them. ``going_on`` are episodes, which whoever may see events may see too.
    """

    fleet: Fleet
    wanted: Wanted
    commands: tuple[CommandLine, ...] | None
    events: tuple[EventLine, ...] | None
    outage: Outage | None = None
    going_on: tuple[Episode, ...] = ()


def take_picture(commands: bool, events: bool) -> Picture:
    """For a reader who may see ``commands`` and ``events``, or not.

    Raises ``django.db.Error`` where the control database answers, but not as it should.
    """
    fleet, gone = read_now(looked_at=True)
    if gone is None:
        try:
            ordered = command_lines(fleet) if commands else None
            going_on = records.going_on() if events else ()
            return Picture(fleet, Wanted(), ordered, event_lines() if events else None, going_on=going_on)
        except DatabaseError as error:
            if (gone := lost(control_alias(), error)) is None:
                raise
        fleet, gone = _without_rows(gone, looked_at=True)
    return Picture(fleet, Wanted(known=False), () if commands else None, () if events else None, gone)


def read_now(looked_at: bool = False, details: bool = True) -> tuple[Fleet, Outage | None]:
    """The fleet, and why the control database can't be read, if so; within a few seconds, whatever is away.

    With ``looked_at`` the targets' servers are looked at, for whoever reads who blocks whom there; a scraper doesn't.
    Without ``details`` of pools for whoever can do without.
    """
    gone = outage(control_alias())
    if gone is not None:
        return _without_rows(gone, looked_at, details)
    beats = read_beats(details=details)
    return read_fleet(beats, looks.of(beats) if looked_at else {}), None


def _without_rows(gone: Outage, looked_at: bool, details: bool = True) -> tuple[Fleet, Outage]:
    beats = read_beats(rows=False, details=details)
    if not beats.store and not beats.errors:
        beats = Beats((), "", (str(_ROWS_ALONE),))
    # Whoever noticed first: the processes of the fleet look every few seconds, this one when somebody looks at it.
    since = min([gone.since, *(beat.control_lost for beat in beats.processes if beat.control_lost)])
    return fleet_of(beats, None, {}, "", seen=looks.of(beats) if looked_at else {}), replace(gone, since=since)
