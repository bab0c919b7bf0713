"""Figures as people read them. A figure that nobody measured is a dash, never a 0."""

from __future__ import annotations

from dataclasses import dataclass

from django.utils.formats import number_format
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

DASH = "\N{EN DASH}"

#: What a holder is at, as the pages have it.
HOLDER_STATES = {
    "running": gettext_lazy("runs a statement"),
    "in transaction": gettext_lazy("idle in transaction"),
    "failed transaction": gettext_lazy("idle in a failed transaction"),
    "idle": gettext_lazy("idle, asks nothing"),
    "ended": gettext_lazy("was ended, and doesn't know yet"),
}

_MINUTE, _HOUR, _DAY = 60, 3600, 86_400


@dataclass(frozen=True, slots=True)
class Figure:
    """What the page prints, and the exact value for the tooltip."""

    text: str
    exact: str = ""

    def __str__(self) -> str:
        return self.text


def number(value: int | None) -> str:
    """1234 as 1,234, in the reader's locale."""
    return DASH if value is None else number_format(value, force_grouping=True)


def duration(seconds: float | None) -> str:
    """Three digits at most below a minute, two units above."""
    if seconds is None:
        return DASH
    if seconds < 0:
        seconds = 0.0  # clocks of two hosts may disagree by a little
    # Each bound lies where the rounded figure would need the next unit: 999.6 ms is 1 s, not 1,000 ms.
    if seconds < 0.0009995:
        return _("%(n)s µs") % {"n": _short(seconds * 1e6)}
    if seconds < 0.9995:
        return _("%(n)s ms") % {"n": _short(seconds * 1e3)}
    if seconds < 9.95:
        return _("%(n)s s") % {"n": _short(seconds)}
    whole = round(seconds)
    if whole < _MINUTE:
        return _("%(n)s s") % {"n": whole}
    if whole < _HOUR:
        return _("%(m)s min %(s)s s") % {"m": whole // _MINUTE, "s": whole % _MINUTE}
    if whole < _DAY:
        return _("%(h)s h %(m)s min") % {"h": whole // _HOUR, "m": whole % _HOUR // _MINUTE}
    return _("%(d)s d %(h)s h") % {"d": number(whole // _DAY), "h": whole % _DAY // _HOUR}


def ago(seconds: float) -> str:
    """An age in one unit, whole seconds at least: nobody cares for the milliseconds of a heartbeat."""
    if seconds < 1:
        return _("just now")
    for length, words in ((_DAY, _("%(n)s d ago")), (_HOUR, _("%(n)s h ago")), (_MINUTE, _("%(n)s min ago"))):
        if seconds >= length:
            return words % {"n": number(int(seconds // length))}
    return _("%(n)s s ago") % {"n": int(seconds)}


def _short(value: float) -> str:
    """Three significant digits without trailing zeros: 1.2, 12.3, 123; whole once it has three."""
    places = 0 if value >= 99.95 else 1
    text = f"{value:.{places}f}"
    return number_format(text.rstrip("0").rstrip(".") if "." in text else text)


def timed(seconds: float | None) -> Figure:
    """A duration with its exact value."""
    if seconds is None:
        return Figure(DASH, _("no data yet"))
    return Figure(duration(seconds), _("%(n)s seconds") % {"n": f"{seconds:.6f}"})


def share(part: float, whole: float) -> str:
    """A percentage as SVG wants it: with a point in every locale."""
    return f"{100 * part / whole:.3f}%" if whole else "0%"
