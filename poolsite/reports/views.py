"""The library in figures, counted for each visitor anew."""

from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

import poolmgr
from poolmgr.exceptions import CheckoutError

from .chart import bars
from .figures import KINDS, MOST, TARGET, report


@require_safe
def page(request: HttpRequest) -> HttpResponse:
    context: dict[str, Any] = {"kinds": KINDS, "target": TARGET}
    try:
        found = report()
    except CheckoutError:
        # Which of the reasons it was is for the operator's log, not for visitors.
        response = render(request, "reports/page.html", context, status=503)
        response["Retry-After"] = "5"
        return response
    pool = poolmgr.pool(TARGET).pool.managed
    context |= {
        "report": found,
        "bars": bars(found.packages[:MOST]),
        "held": pool.load().held,
        "most": pool.spec.max_size,
    }
    return render(request, "reports/page.html", context)
