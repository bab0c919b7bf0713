"""The page that says what to do about one verdict."""

from __future__ import annotations

from django.http import Http404, HttpRequest, HttpResponse
from django.views.decorators.http import require_safe

from poolmgr.control.reporting.advice import ADVICE
from poolmgr.dashboard.entry.access import VIEW, staff_only
from poolmgr.dashboard.entry.frame import frame, show


@require_safe
@staff_only(VIEW)
def advice(request: HttpRequest, code: str) -> HttpResponse:
    """Reads nothing, and so answers whatever is away. Raises ``Http404`` for a verdict that there is none of."""
    entry = ADVICE.get(code)
    if entry is None:
        raise Http404(f"There is no verdict {code!r}.")
    return show(request, "poolmgr/advice.html", {**frame(request), "title": entry.title, "entry": entry})
