"""The page, and the fragment that it refreshes."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.views.decorators.http import require_safe

from poolmgr.dashboard.access import VIEW, may_act, may_cut_off, may_read, may_read_statements, staff_only
from poolmgr.dashboard.cards import cards
from poolmgr.dashboard.frame import frame, show
from poolmgr.dashboard.headline import headline, notes
from poolmgr.dashboard.picture import take_picture
from poolmgr.lookon.admission import looks_on

#: Seconds between two refreshes that a reader may choose from; the script remembers the choice.
INTERVALS = (2, 5, 10, 20)


@require_safe
@staff_only(VIEW)
def dashboard(request: HttpRequest) -> HttpResponse:
    context = {**frame(request), **_figures(request), "title": _("Connection pools"), "intervals": INTERVALS}
    return show(request, "poolmgr/dashboard.html", context)


@require_safe
@staff_only(VIEW)
def fragment(request: HttpRequest) -> HttpResponse:
    return show(request, "poolmgr/fragment.html", _figures(request))


def _figures(request: HttpRequest) -> dict[str, Any]:
    picture = take_picture(may_read(request, "command"), may_read(request, "event"))
    seen = picture.fleet
    shown = cards(seen, picture.wanted, may_read_statements(request))
    return {
        "headline": headline(seen, shown, picture.outage, picture.going_on),
        "notes": notes(seen, shown, picture.outage, checked=not looks_on(request)),
        "cards": shown,
        "processes": len(seen.processes),
        # Nothing of the fleet is known: a page that is open keeps what it knew, and says until when.
        "blind": not seen.store,
        "away": picture.outage is not None,
        "commands": picture.commands,
        "events": picture.events,
        "at": datetime.fromtimestamp(seen.at, tz=timezone.get_current_timezone()),
        "may_act": picture.outage is None and may_act(request),
        "may_cut_off": picture.outage is None and may_cut_off(request),
    }
