"""The page of what happened: episodes and events in one list, filtered by the query, as HTML, CSV and JSON."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.http.request import QueryDict
from django.utils import timezone
from django.utils.text import capfirst
from django.utils.translation import gettext as _
from django.views.decorators.http import require_safe

from poolmgr.control.access import control_alias
from poolmgr.control.reach import outage
from poolmgr.control.reporting.documents import happened
from poolmgr.control.reporting.spoken import in_english, spoken
from poolmgr.control.watching import log
from poolmgr.dashboard.entry import queries
from poolmgr.dashboard.entry.access import VIEW, lacking, may_read, staff_only
from poolmgr.dashboard.entry.frame import frame, show
from poolmgr.dashboard.lines.loglines import log_lines
from poolmgr.dashboard.past.exported import as_csv
from poolmgr.models import Episode, Event
from poolmgr.targets.known import known_targets

_EVENTS = "poolmgr.view_event"
#: Lines of a file, the newest: an earlier ``to`` gives those before.
MOST = 10_000
_HEADS = (
    "at", "until", "kind", "state", "target", "place", "author", "message", *happened.FIGURES, "just_before",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Choice:
    """One of a ``<select>``."""

    value: str
    label: str


@require_safe
@staff_only(VIEW)
def events(request: HttpRequest) -> HttpResponse:
    with in_english("format" in request.GET):
        return _events(request)


def _events(request: HttpRequest) -> HttpResponse:
    if not may_read(request, "event"):
        return lacking(request, _EVENTS)
    data = request.GET
    try:
        queries.known(data, (*queries.SEARCH, "format"))
        form, number = queries.choice(data, "format", ("csv", "json")), queries.page(data)
        wanted = queries.search(data)
    except queries.BadQuery as error:
        return _page(request, {"wrong": str(error)}, 400)
    if (gone := outage(control_alias())) is not None:
        return _page(request, {"away": spoken(gone.sentence)}, 503)
    if form == "csv":
        size = log.PAGE if "page" in data else MOST
        return as_csv("events", _HEADS, _cells(log.search(wanted, number, size).rows))
    found = log.search(wanted, number)
    if form == "json":
        return JsonResponse(happened.page(number, found.more, found.rows))
    told = {"lines": log_lines(found.rows), "authors": log.authors(), **_neighbours(data, number, found.more)}
    return _page(request, told)


def _page(request: HttpRequest, told: dict[str, Any], status: int = 200) -> HttpResponse:
    data = request.GET
    context = {
        **frame(request),
        "title": _("What happened"),
        "asked": {key: data.get(key, "") for key in queries.SEARCH},
        "since": _local(data, "from"),
        "until": _local(data, "to"),
        "filtered": any(data.get(key) for key in queries.SEARCH if key != "page"),
        "targets": known_targets(),
        "kinds": _kinds(),
        "states": _states(),
        "most": MOST,
        "rest": _query(data, page="", format=""),
        **told,
    }
    return show(request, "poolmgr/events.html", context, status)


def _neighbours(data: QueryDict, number: int, more: bool) -> dict[str, Any]:
    """The queries of the pages beside this one, "" where there is none."""
    return {
        "number": number,
        "newer": _query(data, page=number - 1) if number > 1 else "",
        "older": _query(data, page=number + 1) if more and number < queries.LAST_PAGE else "",
    }


def _query(data: QueryDict, **changes: Any) -> str:
    """The present one with some of it changed; "" leaves out."""
    found = data.copy()
    for key, value in changes.items():
        found[key] = str(value)
    for key in [key for key in found if not found[key]]:
        del found[key]
    return found.urlencode()


def _local(data: QueryDict, key: str) -> str:
    """As a field for a time has it; what can't be read stays as it was given, to be mended."""
    try:
        found = queries.time(data, key, end=key == "to")
    except queries.BadQuery:
        return str(data.get(key, ""))
    if found is None:
        return ""
    return f"{timezone.localtime(found) if timezone.is_aware(found) else found:%Y-%m-%dT%H:%M}"


def _kinds() -> tuple[Choice, ...]:
    kinds = (Choice(each.value, str(capfirst(each.label))) for each in Event.Kind)
    return (Choice(happened.EPISODE, str(capfirst(_("episode")))), *kinds)


def _states() -> tuple[Choice, ...]:
    worst = (Choice(each.value, str(capfirst(each.label))) for each in Episode.State)
    return (Choice(log.OPEN, str(capfirst(_("goes on")))), *worst)


def _cells(rows: tuple[Episode | Event, ...]) -> Iterator[list[Any]]:
    for row in rows:
        told = {**happened.line(row), "at": _iso(row.began_at if isinstance(row, Episode) else row.at)}
        told["until"] = _iso(row.ended_at) if isinstance(row, Episode) else None
        yield [told[name] for name in _HEADS]


def _iso(at: datetime | None) -> str | None:
    if at is None:
        return None
    return (timezone.localtime(at) if timezone.is_aware(at) else at).isoformat(timespec="milliseconds")
