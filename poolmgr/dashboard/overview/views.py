"""The overview, and the fragment of it that refreshes."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.views.decorators.http import require_safe

from poolmgr.dashboard.drawing.grid import chosen_grid
from poolmgr.dashboard.entry.access import VIEW, may_read, may_read_statements, staff_only
from poolmgr.dashboard.entry.frame import INTERVALS, frame, show
from poolmgr.dashboard.lines.activity import CommandLine
from poolmgr.dashboard.lines.holderlines import holder_lines
from poolmgr.dashboard.lines.remedy import closer, of_process, remedies
from poolmgr.dashboard.overview.headline import headline, notes
from poolmgr.dashboard.overview.servers import server_slots
from poolmgr.dashboard.overview.targets import fits, ranked, target_rows
from poolmgr.dashboard.reading.picture import overview_picture
from poolmgr.dashboard.words.present import number
from poolmgr.lookon.admission import looks_on

#: Holders on the page; none that has just begun is of interest.
_HOLDERS, _LEAST = 5, 1.0
#: Lines of commands and of events.
_COMMANDS, _EVENTS = 3, 3


@require_safe
@staff_only(VIEW)
def overview(request: HttpRequest) -> HttpResponse:
    context = {**frame(request), **_figures(request), **_live(request)}
    return show(request, "poolmgr/overview.html", context)


@require_safe
@staff_only(VIEW)
def fragment(request: HttpRequest) -> HttpResponse:
    return show(request, "poolmgr/overview_figures.html", _figures(request))


def _live(request: HttpRequest) -> dict[str, Any]:
    asked = request.GET.urlencode()
    fragment = reverse("poolmgr:fragment")
    return {
        "title": _("Connection pools"),
        "intervals": INTERVALS,
        "address": reverse("poolmgr:dashboard"),
        "fragment": f"{fragment}?{asked}" if asked else fragment,
    }


def _worth_telling(commands: tuple[CommandLine, ...]) -> list[CommandLine]:
    """Those that run, and the newest."""
    return [each for index, each in enumerate(commands) if each.state == "running" or not index][:_COMMANDS]


def _figures(request: HttpRequest) -> dict[str, Any]:
    """``?targets=all`` lists all of them, ``?q=`` those that fit, and ``?slots=`` chooses whose slots are shown."""
    picture = overview_picture(may_read(request, "command"), may_read(request, "event"))
    fleet = picture.fleet
    found = ranked(fleet)
    views = [view for view, _said in found]
    head = headline(fleet, found, picture.outage, picture.going_on, picture.unread)
    worst = next((view for view, _said in found if view.target == head.target), None) if head.target else None
    told = notes(fleet, found, picture.outage, picture.unread, checked=not looks_on(request))
    sought = request.GET.get("q", "").strip()[:100]
    everything = request.GET.get("targets") == "all"
    return {
        "headline": head,
        "remedies": remedies(request, worst, fleet, picture.outage is None) or closer(worst.target)
        if worst
        else of_process(head.process, head.advice),
        # What is no trouble can wait below the figures, and what the verdict says is said.
        "notes": [each for each in told if each.state != "info" and each.text != head.sentence],
        "asides": [each for each in told if each.state == "info"],
        "targets": target_rows(
            [each for each in found if fits(each, sought)], everything or bool(sought), picture.strips
        ),
        "sought": sought,
        "grid": chosen_grid([(view, said.state) for view, said in found], fleet, request.GET.get("slots", "")),
        "holders": holder_lines(views, fleet, may_read_statements(request), _HOLDERS, _LEAST),
        "used": number(sum(view.used for view in views)),
        "servers": server_slots(found, fleet.at),
        "processes": len(fleet.processes),
        # Nothing of the fleet is known: a page that is open keeps what it knew, and says until when.
        "blind": not fleet.store,
        "away": picture.outage is not None,
        "commands": picture.commands and _worth_telling(picture.commands),
        "events": picture.events and picture.events[:_EVENTS],
        "at": datetime.fromtimestamp(fleet.at, tz=timezone.get_current_timezone()),
    }
