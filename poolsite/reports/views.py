"""The library in figures: packages are counted for each visitor anew, words by a worker when somebody asks."""

from typing import Any
from uuid import UUID

from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.http import require_POST, require_safe

import poolmgr
from poolmgr.exceptions import CheckoutError

from .asking import Counting, Unavailable, keeps_results, look, order
from .chart import bars
from .engine import TARGET
from .figures import KINDS, MOST, report
from .tasks import LETTERS, count_words

#: A page that waits looks once a second, so often.
LOOKS = 30


@require_safe
def page(request: HttpRequest) -> HttpResponse:
    try:
        found = report()
    except CheckoutError:
        return _busy(request)
    pool = poolmgr.pool(TARGET).pool.managed
    context: dict[str, Any] = {"report": found, "bars": bars(found.packages[:MOST]), "kinds": KINDS, "letters": LETTERS}
    context |= {"target": TARGET, "held": pool.load().held, "most": pool.spec.max_size}
    return render(request, "reports/page.html", context)


@require_POST
def count(request: HttpRequest) -> HttpResponse:
    """Have a worker count words; where nothing keeps its result, count here."""
    try:
        if keeps_results():
            return HttpResponseRedirect(reverse("reports:words", args=[order()]))
        return _words(request, Counting("done", count_words()))
    except CheckoutError:
        return _busy(request)
    except Unavailable:
        return _words(request, Counting("unasked"), 503)


@require_safe
def words(request: HttpRequest, number: UUID) -> HttpResponse:
    """What a worker has counted; until it has, a page that looks again."""
    if not keeps_results():
        raise Http404("Nothing keeps results here.")
    looked = request.GET.get("looked", "0")
    again = int(looked) + 1 if looked.isascii() and looked.isdigit() and len(looked) < 3 else 1
    try:
        counting = look(number)
    except Unavailable:
        return _words(request, Counting("unknown"), 503)
    return _words(request, counting, again=again if again < LOOKS else 0)


def _words(request: HttpRequest, counting: Counting, status: int = 200, again: int = 0) -> HttpResponse:
    context = {"counting": counting, "again": again, "letters": LETTERS, "target": TARGET}
    return render(request, "reports/words.html", context, status=status)


def _busy(request: HttpRequest) -> HttpResponse:
    # Which of the reasons it was is for the operator's log, not for visitors.
    response = render(request, "reports/page.html", status=503)
    response["Retry-After"] = "5"
    return response
