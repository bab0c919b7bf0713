"""The page, the fragment that it refreshes, and the same as JSON."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime
from typing import Any

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.views.decorators.http import require_safe
from msgspec.structs import replace

from poolmgr.control.reporting.views import TargetView
from poolmgr.dashboard.access import VIEW, may_act, may_cut_off, may_read, may_read_statements, staff_only
from poolmgr.dashboard.cards import cards
from poolmgr.dashboard.episodes import as_dict
from poolmgr.dashboard.frame import frame, show
from poolmgr.dashboard.headline import headline, notes
from poolmgr.dashboard.picture import read_episodes, read_now, take_picture
from poolmgr.lookon.admission import looks_on
from poolmgr.metrics.decoding import as_plain
from poolmgr.metrics.snapshot import PoolSnapshot, ProcessBeat

#: Seconds between two refreshes that a reader may choose from; the script remembers the choice.
INTERVALS = (2, 5, 10, 20)
#: Episodes that programs are told of.
EPISODES = 50


@require_safe
@staff_only(VIEW)
def dashboard(request: HttpRequest) -> HttpResponse:
    context = {**frame(request), **_figures(request), "title": _("Connection pools"), "intervals": INTERVALS}
    return show(request, "poolmgr/dashboard.html", context)


@require_safe
@staff_only(VIEW)
def fragment(request: HttpRequest) -> HttpResponse:
    return show(request, "poolmgr/fragment.html", _figures(request))


@require_safe
@staff_only(VIEW)
def fleet(request: HttpRequest) -> HttpResponse:
    seen, outage = read_now(looked_at=True)
    episodes = read_episodes(EPISODES) if outage is None and may_read(request, "event") else None
    return JsonResponse(
        {
            "processes": [_process(beat, request) for beat in seen.processes],
            "targets": [_target(view, request) for view in seen.targets],
            # What goes on first, then the newest; null where they are unknown, or not for this reader.
            "episodes": None if episodes is None else [as_dict(each) for each in episodes],
            "store": seen.store,
            "store_error": seen.store_error,
            "unread": [asdict(each) for each in seen.unread],
            # While this is not empty, what the rows would add is unknown: the newest settings, and each last_health.
            "control_error": outage.sentence if outage else "",
            "control_lost": outage.since if outage else None,
            "at": seen.at,
        }
    )


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


def _process(beat: ProcessBeat, request: HttpRequest) -> dict[str, Any]:
    """What the reader may see of it."""
    if not may_read(request, "command"):
        beat = replace(beat, acks=())
    if not may_read_statements(request):
        beat = replace(beat, pools=tuple(map(_without_statements, beat.pools)))
    return beat.to_dict()


def _without_statements(pool: PoolSnapshot) -> PoolSnapshot:
    return replace(pool, holders=tuple(replace(each, statement="") for each in pool.holders))


def _target(view: TargetView, request: HttpRequest) -> dict[str, Any]:
    data, seen = asdict(view), view.seen
    if seen and not may_read_statements(request):
        seen = replace(seen, sessions=tuple(replace(each, statement="") for each in seen.sessions))
    data["seen"] = as_plain(seen)
    data["wait"], data["use"] = (
        {"count": spread.count, **{f"p{round(q * 100)}": spread.quantile(q) for q in (0.5, 0.95, 0.99)}}
        for spread in (view.wait, view.use)
    )
    return data
