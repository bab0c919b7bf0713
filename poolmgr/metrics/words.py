"""How verdicts put figures into words."""

from __future__ import annotations

from poolmgr.metrics.phrases import phrase

#: Of a server that lets nobody in, as its kinds tell it.
NO_SLOT = phrase("the server has no connection slot left")

_MINUTE, _HOUR, _DAY = 60, 3600, 86_400


def plain(text: str) -> str:
    """What a page, a row, a log and a terminal can hold of a text that somebody else has chosen."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def brief(seconds: float) -> str:
    """As ``span()`` has it, and below a second in milliseconds or microseconds."""
    if seconds >= 0.95 or seconds < 0.5e-6:
        return span(seconds)
    if seconds < 0.95e-3:
        return phrase("%(n)s µs", n=round(seconds * 1e6))
    return phrase("%(n)s ms", n=float(f"{seconds * 1e3:.3g}"))


def span(seconds: float) -> str:
    """In the largest unit of which there is one; with tenths below ten seconds, as somebody who waits counts."""
    if seconds < 9.95:
        return phrase("%(n)s s", n=round(max(0.0, seconds), 1))
    if seconds >= _DAY:
        return phrase("%(n)s d", n=int(seconds // _DAY))
    if seconds >= _HOUR:
        return phrase("%(n)s h", n=int(seconds // _HOUR))
    if seconds >= _MINUTE:
        return phrase("%(n)s min", n=int(seconds // _MINUTE))
    return phrase("%(n)s s", n=int(seconds))
