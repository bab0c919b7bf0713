"""Episodes and events as one log, searched: what goes on first, then the newest. All of it raises ``django.db.Error``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from django.db.models import Case, Model, Q, QuerySet, When

from poolmgr.control.access import control_alias
from poolmgr.control.reporting.documents.happened import EPISODE
from poolmgr.models import Episode, Event

#: Lines of a page.
PAGE = 50
KINDS = (EPISODE, *Event.Kind.values)
#: What goes on, whatever its state.
OPEN = "open"
STATES = (OPEN, *Episode.State.values)
_GOES_ON = Case(When(ended_at=None, then=0), default=1)
_NEWEST = (_GOES_ON, "-began_at", "-id")


@dataclass(frozen=True, slots=True)
class Search:
    """What is looked for; what is empty matches all.

    ``kind`` is one of ``KINDS``, ``state`` of ``STATES``, which only episodes have; ``author`` is a whole name, which only
    events have, and ``text`` a part of what a line says. An episode counts as between ``since`` and ``until`` when any part
    of it is.
    """

    target: str = ""
    kind: str = ""
    state: str = ""
    author: str = ""
    text: str = ""
    since: datetime | None = None
    until: datetime | None = None

    @property
    def of_episodes(self) -> bool:
        return self.kind in ("", EPISODE) and not self.author

    @property
    def of_events(self) -> bool:
        return self.kind != EPISODE and not self.state


@dataclass(frozen=True, slots=True)
class Page:
    """Lines, and whether there are more behind them."""

    rows: tuple[Episode | Event, ...]
    more: bool


def search(wanted: Search, number: int = 1, size: int = PAGE) -> Page:
    """The page with that ``number``, from 1 on, of ``size`` lines. Of what comes before them the keys are read, too."""
    first, last = (number - 1) * size, number * size
    found = []
    if wanted.of_episodes:
        rows = _episodes(wanted).order_by(*_NEWEST).values_list("pk", "began_at", "ended_at")[: last + 1]
        found += [_Key(ended is None, began, Episode, pk) for pk, began, ended in rows]
    if wanted.of_events:
        lines = _events(wanted).order_by("-at", "-id").values_list("pk", "at")[: last + 1]
        found += [_Key(False, at, Event, pk) for pk, at in lines]
    found.sort(key=lambda key: (key.goes_on, key.at), reverse=True)
    return Page(_rows(found[first:last]), len(found) > last)


def episodes(wanted: Search, number: int = 1, size: int = PAGE) -> Page:
    """The same of episodes alone."""
    first, last = (number - 1) * size, number * size
    found = tuple(_episodes(wanted).order_by(*_NEWEST)[first : last + 1])
    return Page(found[:size], len(found) > size)


class _Key(NamedTuple):
    goes_on: bool
    at: datetime
    model: type[Episode | Event]
    pk: int


def _rows(keys: Sequence[_Key]) -> tuple[Episode | Event, ...]:
    found: dict[tuple[type, int], Any] = {}
    for model in (Episode, Event):
        if wanted := [key.pk for key in keys if key.model is model]:
            found |= {(model, row.pk): row for row in _all(model).filter(pk__in=wanted)}
    # What is pruned meanwhile is left out.
    return tuple(found[key.model, key.pk] for key in keys if (key.model, key.pk) in found)


def _episodes(wanted: Search) -> QuerySet[Episode]:
    rows = _all(Episode)
    if wanted.target:
        rows = rows.filter(target=wanted.target)
    if wanted.state == OPEN:
        rows = rows.filter(ended_at=None)
    elif wanted.state:
        rows = rows.filter(state=wanted.state)
    if wanted.text:
        rows = rows.filter(_holds(wanted.text, "sentence", "place", "why", "target"))
    if wanted.since:
        rows = rows.filter(Q(ended_at=None) | Q(ended_at__gte=wanted.since))
    return rows.filter(began_at__lte=wanted.until) if wanted.until else rows


def _events(wanted: Search) -> QuerySet[Event]:
    given: dict[str, Any] = {"target": wanted.target, "kind": wanted.kind, "author": wanted.author}
    given |= {"at__gte": wanted.since, "at__lte": wanted.until}
    rows = _all(Event).filter(**{name: value for name, value in given.items() if value})
    return rows.filter(_holds(wanted.text, "message", "author", "target")) if wanted.text else rows


def _holds(text: str, *names: str) -> Q:
    found = Q()
    for name in names:
        found |= Q(**{f"{name}__icontains": text})
    return found


def _all(model: type[Model]) -> QuerySet[Any]:
    return model._default_manager.using(control_alias())


def authors(limit: int = 50) -> tuple[str, ...]:
    """Who has done anything, for a choice of them; by name."""
    names = Event.objects.using(control_alias()).exclude(author="").order_by("author").values_list("author", flat=True)
    return tuple(names.distinct()[:limit])
