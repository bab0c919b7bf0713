"""Episodes and events as the page of the log has them, line by line."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.utils import timezone
from django.utils.text import capfirst
from django.utils.translation import gettext as _

from poolmgr.control.reporting.spoken import spoken
from poolmgr.dashboard.addresses import past_address, target_address
from poolmgr.dashboard.entry.asked import LONGEST
from poolmgr.dashboard.words import episodes
from poolmgr.dashboard.words.present import ago, duration
from poolmgr.models import Episode, Event

#: What its history is shown of before and after an episode.
_AROUND = timedelta(minutes=15)


@dataclass(frozen=True, slots=True)
class LogLine:
    """``state`` is an episode's, "" of an event; ``exact`` says what ``sentence`` leaves out, ``worst`` are figures in words.

    ``until`` tells when an episode ended and how long it took, or how long it has gone on, ``place`` its processes where
    the sentence doesn't name them. ``history`` is the address of what its target did around it, "" where there is none.
    """

    kind: str
    state: str
    state_label: str
    at: datetime
    clock: str
    age: str
    until: str
    goes_on: bool
    target: str
    address: str  # of its page, "" for a name that no address can have
    place: str
    author: str
    sentence: str
    exact: str
    worst: str
    why: str
    history: str


def log_lines(rows: Iterable[Episode | Event]) -> tuple[LogLine, ...]:
    now = timezone.now()
    return tuple(_of_episode(row, now) if isinstance(row, Episode) else _of_event(row, now) for row in rows)


def _of_episode(row: Episode, now: datetime) -> LogLine:
    seconds = ((row.ended_at or now) - row.began_at).total_seconds()
    said, place = str(capfirst(episodes.heading(row))), spoken(row.said("place"))
    lasted = _("for %(time)s now") if row.ended_at is None else _("for %(time)s")
    return LogLine(
        kind=_("episode"),
        state=row.state,
        state_label=str(row.get_state_display()),
        at=row.began_at,
        clock=episodes.clock(row.began_at, now),
        age=ago((now - row.began_at).total_seconds()),
        until=lasted % {"time": duration(seconds)} if row.ended_at is None or seconds >= 1 else "",
        goes_on=row.ended_at is None,
        target=row.target,
        address=target_address(row.target) if row.target else "",
        place="" if place.lower() in said.lower() else place,
        author="",
        sentence=said,
        exact=spoken(row.said("sentence")),
        worst=", ".join(episodes.figures(row)),
        why=spoken(row.said("why")),
        history=_around(row, now),
    )


def _of_event(row: Event, now: datetime) -> LogLine:
    return LogLine(
        kind=str(row.get_kind_display()),
        state="",
        state_label="",
        at=row.at,
        clock=episodes.clock(row.at, now),
        age=ago((now - row.at).total_seconds()),
        until="",
        goes_on=False,
        target=row.target,
        address=target_address(row.target) if row.target else "",
        place="",
        author=row.author,
        sentence=spoken(row.sentence),
        exact="",
        worst="",
        why="",
        history="",
    )


def _around(row: Episode, now: datetime) -> str:
    """Where its chart is, with some time before and after."""
    if not row.target:
        return ""
    until = (row.ended_at or now) + _AROUND
    return past_address(row.target, max(row.began_at - _AROUND, until - timedelta(seconds=LONGEST)), until)
