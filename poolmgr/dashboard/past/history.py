"""The page of a target's history, and the same as CSV and JSON."""

from __future__ import annotations

from dataclasses import replace
from time import time
from urllib.parse import urlencode

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.views.decorators.http import require_safe

from poolmgr.conf import ROLES, conf
from poolmgr.control.access import control_alias
from poolmgr.control.reach import outage
from poolmgr.control.reporting.past import Past, has_past, moment, past, targets_with_past
from poolmgr.control.reporting.spoken import in_english, spoken
from poolmgr.control.reporting.told import FIGURES, as_document, figures, iso
from poolmgr.dashboard.entry import queries
from poolmgr.dashboard.entry.access import VIEW, may_read, staff_only
from poolmgr.dashboard.entry.asked import FORMATS, KEYS, Asked, BadQuery, asked
from poolmgr.dashboard.entry.frame import frame, show
from poolmgr.dashboard.past.exported import as_csv
from poolmgr.dashboard.past.marks import Mark, as_dict, marks
from poolmgr.dashboard.past.plots import payload, plots, steps, whole
from poolmgr.metrics.tiers import RANGES


@require_safe
def history(request: HttpRequest) -> HttpResponse:
    """Whoever asks for data and isn't signed in gets 401, since a program can do nothing with a login page."""
    with in_english(request.GET.get("format") in FORMATS):
        answer = _history(request)
    if answer.status_code == 302 and request.GET.get("format") in FORMATS:
        return HttpResponse("Sign in first.\n", status=401, content_type="text/plain; charset=utf-8")
    return answer


@staff_only(VIEW)
def _history(request: HttpRequest) -> HttpResponse:
    if (gone := outage(control_alias())) is not None:
        return _refused(request, _("History is in the control database. %(why)s") % {"why": spoken(gone.sentence)}, 503)
    targets = targets_with_past()
    try:
        queries.known(request.GET, KEYS)
        found = asked(request.GET.dict(), targets, time())
    except BadQuery as error:
        return _refused(request, str(error), 400)
    read = past(found.target, found.begin, found.end, found.role)
    happened = marks(found.target, found.begin, found.end) if may_read(request, "event") else None
    if found.format == "csv":
        return _csv(read)
    if found.format == "json":
        told = None if happened is None else [as_dict(each) for each in happened]
        return JsonResponse({**as_document(read), "marks": told})
    return _page(request, found, targets, read, happened)


def _refused(request: HttpRequest, reason: str, status: int) -> HttpResponse:
    if request.GET.get("format") in FORMATS:
        return HttpResponse(f"{reason}\n", status=status, content_type="text/plain; charset=utf-8")
    context = {**frame(request), "title": _("History"), "reason": reason, "back": True}
    return show(request, "poolmgr/denied.html", context, status)


def _page(
    request: HttpRequest, found: Asked, targets: tuple[str, ...], read: Past, happened: tuple[Mark, ...] | None
) -> HttpResponse:
    context = {
        **frame(request),
        "title": _("History"),
        "asked": found,
        "targets": targets,
        "roles": ROLES,
        "begin": moment(found.begin),
        "end": moment(found.end),
        "ranges": [(name, _address(replace(found, range=name))) for name in RANGES],
        "earlier": _address(_moved(found, found.begin - found.end)),
        "later": _address(_moved(found, found.end - found.begin)) if found.end < time() - 1 else "",
        "data": [(each.upper(), _address(found, format=each)) for each in FORMATS],
        "plots": plots(read, happened or ()) if read.periods else (),
        "steps": steps(read),
        "step": whole(read.step),
        "payload": payload(read, happened or ()),
        "happened": [(mark, moment(mark.begin), moment(mark.end) if mark.end else None) for mark in happened or ()],
        "zone": timezone.get_current_timezone_name(),
        "interval": conf().SAMPLE_INTERVAL,
        "has_any": bool(read.periods) or has_past(),
    }
    return show(request, "poolmgr/history.html", context)


def _moved(found: Asked, seconds: float) -> Asked:
    return replace(found, begin=found.begin + seconds, end=found.end + seconds, range="")


def _address(found: Asked, **more: str) -> str:
    """Of the page that shows it."""
    stretch = {"range": found.range} if found.range else {"from": f"{found.begin:.0f}", "to": f"{found.end:.0f}"}
    query = {"target": found.target, **({"role": found.role} if found.role else {}), **stretch, **more}
    return f"{reverse('poolmgr:history')}?{urlencode(query)}"


def _csv(read: Past) -> HttpResponse:
    told = ((period.at, figures(period)) for period in read.periods)
    rows = ((iso(at), read.target, read.role, *(each[name] for name in FIGURES)) for at, each in told)
    return as_csv("history", ("at", "target", "role", *FIGURES), rows)
