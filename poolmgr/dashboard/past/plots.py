"""The charts of a stretch of history as the page prints them: drawn without a script, and with a table behind each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from math import ceil, log10
from typing import Any

from django.utils.formats import date_format, number_format
from django.utils.translation import gettext as _

from poolmgr.control.reporting.past import Past, moment
from poolmgr.dashboard.drawing.paths import Level, Scale, band, line
from poolmgr.dashboard.drawing.paths import number as coordinate
from poolmgr.dashboard.past.charts import CHARTS, Chart, Line, Value, values
from poolmgr.dashboard.past.marks import Mark
from poolmgr.dashboard.words.present import DASH, duration, number
from poolmgr.metrics.periods import Period, by_window

WIDTH, HEIGHT = 720, 120
#: The most rows of a table, and steps of a drawing, which the figures of many periods are put together for.
_ROWS, _DRAWN = 60, 240
_ROUND = (1, 2, 3, 6, 10, 15, 30, 60, 120, 360, 720, 1440)
#: The least time that is told from nothing, in seconds.
_LEAST = 1e-5


@dataclass(frozen=True, slots=True)
class Layer:
    """One line of a drawing; ``last`` is its newest figure, in words."""

    key: str
    label: str
    style: str
    colour: str
    path: str
    last: str


@dataclass(frozen=True, slots=True)
class Plot:
    """A chart with its drawing and its table; ``most`` is what its top stands for. Without any figure it ``is_empty``."""

    key: str
    title: str
    unit: str
    note: str
    layers: tuple[Layer, ...]
    flags: tuple[str, ...]
    most: str
    heads: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    is_empty: bool
    width: int = WIDTH
    height: int = HEIGHT


def plots(past: Past, marks: Sequence[Mark]) -> tuple[Plot, ...]:
    drawn = replace(past, periods=thinned(past, _DRAWN)[0])
    fewer, step = thinned(past, _ROWS)
    flags = tuple(coordinate(_x(mark.begin, past)) for mark in marks if mark.begin >= past.begin)
    times = [_time(period.at, step, past) for period in reversed(fewer)]
    return tuple(_plot(chart, drawn, fewer, times, flags) for chart in CHARTS)


def steps(past: Past) -> tuple[str, str]:
    """How long each step of a drawing is, and each row of a table, in words."""
    return whole(thinned(past, _DRAWN)[1]), whole(thinned(past, _ROWS)[1])


def whole(seconds: float) -> str:
    """In the largest unit that it is a whole number of."""
    for length, words in ((3600, _("%(n)s h")), (60, _("%(n)s min"))):
        if seconds % length == 0:
            return words % {"n": number(int(seconds // length))}
    return _("%(n)s s") % {"n": f"{seconds:g}"}


def thinned(past: Past, most: int) -> tuple[tuple[Period, ...], float]:
    """The same in about ``most`` periods at the most, and how long each is."""
    wanted = (past.end - past.begin) / past.step / most
    factor = next((each for each in _ROUND if each >= wanted), ceil(wanted))
    step = past.step * factor
    return (past.periods if factor == 1 else by_window((("", each) for each in past.periods), step)), step


def payload(past: Past, marks: Sequence[Mark]) -> dict[str, Any]:
    """The same for the script: a place for each period, also for those of which nothing is known."""
    grid = _grid(past)
    return {
        "from": past.begin,
        "to": past.end,
        "step": past.step,
        "times": [round(at + past.step / 2, 3) for at, _ in grid],
        "charts": {
            chart.key: [[each.of(period) if period else None for _, period in grid] for each in chart.lines]
            for chart in CHARTS
        },
        "marks": [
            {"number": mark.number, "from": mark.begin, "to": mark.end, "state": mark.state, "text": mark.text}
            for mark in marks
        ],
    }


def _grid(past: Past) -> list[tuple[float, Period | None]]:
    found: list[tuple[float, Period | None]] = []
    for period in past.periods:
        if found and period.at - found[-1][0] > 1.5 * past.step:
            # One empty place breaks the line, however long nothing is known.
            found.append((found[-1][0] + past.step, None))
        found.append((period.at, period))
    return found


def _plot(chart: Chart, past: Past, fewer: Sequence[Period], times: Sequence[str], flags: tuple[str, ...]) -> Plot:
    drawn = [values(each, past.periods) for each in chart.lines]
    feet = [_feet(each, at, drawn) for at, each in enumerate(chart.lines)]
    most = max((head for found, on in zip(drawn, feet, strict=True) for head in _heads(found, on)), default=None)
    scale = Scale(_raised(most or 0.0, chart.unit), 8.0, HEIGHT - 1.0)
    cells = [[figure(value, chart.unit) for value in reversed(values(each, fewer))] for each in chart.lines]
    return Plot(
        chart.key,
        str(chart.title),
        chart.unit,
        str(chart.note),
        layers=tuple(
            _layer(each, found, on, chart.unit, past, scale)
            for each, found, on in zip(chart.lines, drawn, feet, strict=True)
        ),
        flags=flags,
        most=figure(most, chart.unit),
        heads=tuple(str(each.label) for each in chart.lines),
        rows=tuple(zip(times, *cells, strict=True)),
        is_empty=most is None,
    )


def _feet(of: Line, place: int, drawn: Sequence[Sequence[Value]]) -> Sequence[Value]:
    """On what each figure of a line stands."""
    return drawn[place - 1] if of.style == "stack" else [0] * len(drawn[place])


def _heads(found: Sequence[Value], feet: Sequence[Value]) -> Iterator[float]:
    return (value + (foot or 0) for value, foot in zip(found, feet, strict=True) if value is not None)


def _layer(each: Line, found: Sequence[Value], feet: Sequence[Value], unit: str, past: Past, scale: Scale) -> Layer:
    levels = _levels(found, feet, unit, past)
    path = line(levels, scale) if each.style in ("line", "limit") else band(levels, scale)
    last = next((value for value in reversed(found) if value is not None), None)
    return Layer(each.key, str(each.label), each.style, each.colour, path, figure(last, unit))


def _levels(found: Sequence[Value], feet: Sequence[Value], unit: str, past: Past) -> Iterator[Level]:
    for period, value, foot in zip(past.periods, found, feet, strict=True):
        if value is not None:
            high, low = _raised(value + (foot or 0), unit), foot or 0.0
            yield Level(_x(period.at, past), _x(period.at + period.step, past), high, low)


def _raised(value: float, unit: str) -> float:
    """Seconds by their magnitude above the least."""
    return max(0.0, log10(max(value, _LEAST) / _LEAST)) if unit == "seconds" else value


def _x(at: float, past: Past) -> float:
    return WIDTH * max(0.0, min(1.0, (at - past.begin) / (past.end - past.begin)))


def figure(value: Value, unit: str) -> str:
    if value is None:
        return DASH
    if unit == "seconds":
        return duration(value)
    return number(int(value)) if value == int(value) else number_format(round(value, 1), force_grouping=True)


def _time(at: float, step: float, past: Past) -> str:
    when = moment(at)
    day = date_format(when, "Y-m-d ") if past.end - past.begin > 86_400 / 2 else ""
    return day + date_format(when, "H:i" if step >= 60 else "H:i:s")
