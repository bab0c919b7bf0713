"""The page of one target: who holds, who waits where, the server, the settings."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.views.decorators.http import require_safe

from poolmgr.dashboard.addresses import history_address
from poolmgr.dashboard.drawing.grid import grid
from poolmgr.dashboard.entry.access import VIEW, may_act, may_cut_off, may_read, may_read_statements, staff_only
from poolmgr.dashboard.entry.frame import INTERVALS, frame, refuse, show
from poolmgr.dashboard.entry.queries import BadQuery
from poolmgr.dashboard.lines.notes import unread_note
from poolmgr.dashboard.lines.remedy import remedies
from poolmgr.dashboard.pages.cards import card
from poolmgr.dashboard.pages.listing import Listed
from poolmgr.dashboard.pages.uses import uses_of
from poolmgr.dashboard.reading.picture import target_picture
from poolmgr.dashboard.words.episodes import standing
from poolmgr.dashboard.words.verdicts import said_of


@require_safe
@staff_only(VIEW)
def target(request: HttpRequest, target: str) -> HttpResponse:
    """``?part=figures`` is what refreshes; ``sort``, ``q``, ``role``, ``state`` and ``page`` choose processes."""
    try:
        listed = Listed.of(request.GET)
    except BadQuery as error:
        return refuse(request, _("That can't be shown"), str(error))
    figures = _figures(request, target, listed)
    if figures is None:
        reason = _("There is no target “%(target)s”.") % {"target": target}
        return refuse(request, _("No such target"), reason, status=404)
    if request.GET.get("part") == "figures":
        return show(request, "poolmgr/target_figures.html", figures)
    address = reverse("poolmgr:target", kwargs={"target": target})
    fragment = "&".join(filter(None, ("part=figures", listed.query())))
    context = {
        **frame(request),
        **figures,
        "title": target,
        "intervals": INTERVALS,
        "address": address,
        "fragment": f"{address}?{fragment}",
    }
    return show(request, "poolmgr/target.html", context)


def _figures(request: HttpRequest, target: str, listed: Listed) -> dict[str, Any] | None:
    """None where there is no such target."""
    picture = target_picture(target, may_read(request, "command"), may_read(request, "event"))
    fleet = picture.fleet
    view = next((each for each in fleet.targets if each.target == target), None)
    if view is None:
        return None
    said = said_of(view, fleet)
    known = picture.outage is None
    return {
        "remedies": remedies(request, view, fleet, known) if said.state != "ok" and view.processes else (),
        "card": card(view, said, fleet, picture.wanted, may_read_statements(request), listed),
        "grid": grid(view, fleet) if view.processes > 1 else None,
        "uses": uses_of(target, fleet),
        "strip": picture.strips.get(target),
        "history": history_address(target),
        "standing": standing(picture.going_on, target) if said.state != "ok" else None,
        "notes": unread_note(picture.unread),
        "blind": not fleet.store,
        "away": picture.outage,
        "commands": picture.commands and [each for each in picture.commands if each.target == target],
        "events": picture.events and [each for each in picture.events if target in (each.target, each.of)],
        "at": datetime.fromtimestamp(fleet.at, tz=timezone.get_current_timezone()),
        "may_act": known and may_act(request),
        "may_cut_off": known and may_cut_off(request),
    }
