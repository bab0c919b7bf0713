"""The figures for Prometheus: for a bearer of the token, and for staff who look at it in a browser."""

from __future__ import annotations

from secrets import compare_digest

from django.contrib.auth.decorators import login_not_required
from django.http import HttpRequest, HttpResponse
from django.views.decorators.http import require_safe

from poolmgr.conf import conf
from poolmgr.control.reporting.totals import read_totals
from poolmgr.dashboard.entry.access import VIEW, staff_only
from poolmgr.dashboard.reading.picture import read_now
from poolmgr.exporters import prometheus
from poolmgr.secrets import Secret


@login_not_required
@require_safe
def metrics(request: HttpRequest) -> HttpResponse:
    """The page for one scrape. A wrong token is refused with 401, so that a scraper sees its own mistake.

    A site that has everybody log in lets a scraper in all the same: it bears the token.
    """
    given, token = Secret(request.headers.get("Authorization", "")), conf().METRICS_TOKEN
    if not given:
        return _for_staff(request)
    if token is None or not compare_digest(given.encode(), f"Bearer {token}".encode()):
        answer = HttpResponse("The token is wrong, or POOLMGR['METRICS_TOKEN'] is not set.\n", status=401)
        answer.headers["WWW-Authenticate"] = "Bearer"
        return answer
    return _page(request)


@staff_only(VIEW)
def _for_staff(request: HttpRequest) -> HttpResponse:
    return _page(request)


def _page(request: HttpRequest) -> HttpResponse:
    """``?processes`` asks for the series of each process instead, under the same names."""
    each = "processes" in request.GET
    fleet, outage = read_now(details=each)
    if each:
        text = prometheus.render_processes(fleet)
    else:
        text = prometheus.render(fleet, read_totals(rows=outage is None), control_up=outage is None)
    return HttpResponse(text, content_type=prometheus.CONTENT_TYPE)
