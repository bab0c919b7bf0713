"""What happened at a target in a stretch of time, as dated marks on its charts: episodes, edits and orders."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext as _

from poolmgr.control.access import control_alias
from poolmgr.control.reporting.past import moment
from poolmgr.control.reporting.spoken import spoken
from poolmgr.dashboard.words import episodes
from poolmgr.models import Episode, Event

#: The most marks that charts show: of more the newest.
MOST = 60


@dataclass(frozen=True, slots=True)
class Mark:
    """``begin`` and ``end`` in seconds since the epoch, the same for what doesn't last; ``end`` is None of what goes on.

    ``state`` is an episode's, and "" of an event. ``kind`` says what it is, ``label`` in words,
    ``number`` is what stands on the charts.
    """

    number: int
    begin: float
    end: float | None
    state: str
    kind: str
    label: str
    author: str
    text: str


def marks(target: str, begin: float, end: float) -> tuple[Mark, ...]:
    """Of the target and of the fleet, the oldest first. Raises ``django.db.Error``."""
    found = sorted([*_episodes(target, begin, end), *_events(target, begin, end)], key=lambda each: each["begin"])
    return tuple(Mark(number, **each) for number, each in enumerate(found[-MOST:], 1))


def as_dict(mark: Mark) -> dict[str, Any]:
    """For programs; moments in seconds since the epoch."""
    return {
        "at": round(mark.begin, 3),
        "until": round(mark.end, 3) if mark.end is not None else None,
        "state": mark.state or None,
        "kind": mark.kind,
        "author": mark.author or None,
        "message": mark.text,
    }


def _episodes(target: str, begin: float, end: float) -> list[dict[str, Any]]:
    rows = Episode.objects.using(control_alias()).filter(
        Q(ended_at=None) | Q(ended_at__gte=moment(begin)), target__in=("", target), began_at__lte=moment(end)
    )
    now = timezone.now()
    return [
        {
            "begin": each.began_at.timestamp(),
            "end": each.ended_at.timestamp() if each.ended_at else None,
            "state": each.state,
            "kind": "episode",
            "label": _("episode"),
            "author": "",
            "text": episodes.sentence(each, now),
        }
        for each in rows.order_by("-began_at", "-id")[:MOST]
    ]


def _events(target: str, begin: float, end: float) -> list[dict[str, Any]]:
    rows = Event.objects.using(control_alias()).filter(
        kind__in=(Event.Kind.PROFILE, Event.Kind.COMMAND), target=target, at__range=(moment(begin), moment(end))
    )
    return [
        {
            "begin": each.at.timestamp(),
            "end": each.at.timestamp(),
            "state": "",
            "kind": each.kind,
            "label": str(each.get_kind_display()),
            "author": each.author,
            "text": spoken(each.sentence),
        }
        for each in rows.order_by("-at", "-id")[:MOST]
    ]
