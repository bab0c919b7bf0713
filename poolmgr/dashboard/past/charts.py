"""The charts of history: which lines each has, and what a line shows of a period."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from poolmgr.control.reporting.told import significant
from poolmgr.metrics.periods import Period

Value = float | None
_Words = str | Promise


@dataclass(frozen=True, slots=True)
class Line:
    """``style`` is area, line, limit, bars, or stack, which stands on the line before it; ``colour`` names one of the page's
    colours."""

    key: str
    label: _Words
    style: str
    colour: str
    of: Callable[[Period], Value]


@dataclass(frozen=True, slots=True)
class Chart:
    """``unit`` is count or seconds; seconds are drawn by their magnitude. ``note`` says what must be known to read it."""

    key: str
    title: _Words
    unit: str
    lines: tuple[Line, ...]
    note: _Words = ""


def values(line: Line, periods: Sequence[Period]) -> list[Value]:
    return [line.of(period) for period in periods]


def _seen(name: str) -> Callable[[Period], Value]:
    def of(period: Period) -> Value:
        return round(getattr(period, name), 2) if period.looks else None

    return of


def _counted(name: str) -> Callable[[Period], Value]:
    def of(period: Period) -> Value:
        return getattr(period, name) if period.seconds is not None else None

    return of


def _at(name: str) -> Callable[[Period], Value]:
    def of(period: Period) -> Value:
        return getattr(period.slots, name) if period.slots else None

    return of


def _quantiles(name: str) -> tuple[Line, ...]:
    def line(quantile: int) -> Line:
        def of(period: Period) -> Value:
            return significant(getattr(period, name).quantile(quantile / 100))

        return Line(f"{name}_p{quantile}", f"p{quantile}", "line", f"p{quantile}", of)

    return tuple(map(line, (50, 95, 99)))


CHARTS = (
    Chart(
        "use",
        _("Connections in use"),
        "count",
        (
            Line("used", _("in use, on average"), "area", "used", _seen("used")),
            Line("used_most", _("the most seen at once"), "line", "most", _seen("used_most")),
            Line("demand", _("waiting besides"), "stack", "waiting", _seen("pending_most")),
            Line("capacity", _("limit"), "limit", "limit", _seen("capacity")),
        ),
    ),
    Chart(
        "waiting",
        _("Waiting"),
        "count",
        (
            Line("pending_most", _("the most seen waiting at once"), "area", "waiting", _seen("pending_most")),
            Line("full", _("full processes"), "line", "most", _seen("full")),
        ),
        _("What waits for less than a heartbeat may not be seen here; its time is in the waits below."),
    ),
    Chart(
        "failures",
        _("Failures"),
        "count",
        (
            Line("timeouts", _("got no connection in time"), "bars", "failed", _counted("timeouts")),
            Line("errors", _("failed otherwise"), "bars", "waiting", _counted("errors")),
        ),
    ),
    Chart("wait", _("Wait for a connection"), "seconds", _quantiles("wait")),
    Chart("use_time", _("Time of use"), "seconds", _quantiles("use")),
    Chart(
        "creates",
        _("Connections opened"),
        "count",
        (
            Line("created", _("opened"), "bars", "used", _counted("created")),
            Line("lost", _("found dead"), "bars", "waiting", _counted("lost")),
            Line("create_errors", _("could not be opened"), "bars", "failed", _counted("create_errors")),
        ),
    ),
    Chart(
        "slots",
        _("Slots of the server"),
        "count",
        (
            Line("server_used", _("in use"), "area", "idle", _at("used")),
            Line("server_ours", _("of these ours"), "line", "most", _at("ours")),
            Line("server_most", _("limit"), "limit", "limit", _at("most")),
        ),
        _("From health checks, which Celery's schedule makes, and from looks while somebody has the dashboard open."),
    ),
    Chart(
        "checkouts",
        _("Checkouts"),
        "count",
        (Line("checkouts", _("got a connection"), "bars", "used", _counted("checkouts")),),
    ),
)
