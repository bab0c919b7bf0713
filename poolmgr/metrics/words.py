"""How verdicts put figures into words."""

from __future__ import annotations

_MINUTE, _HOUR, _DAY = 60, 3600, 86_400


def plain(text: str) -> str:
    """What a page, a row, a log and a terminal can hold of a text that somebody else has chosen."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def count(number: int, one: str, many: str) -> str:
    return f"{number} {one if number == 1 else many}"


def bare(text: str) -> str:
    """A sentence without its full stop."""
    return text.strip().rstrip(".")


def brief(seconds: float) -> str:
    """As ``span()`` has it, and below a second in milliseconds or microseconds."""
    if seconds >= 0.95 or seconds < 0.5e-6:
        return span(seconds)
    return f"{seconds * 1e6:.0f} µs" if seconds < 0.95e-3 else f"{seconds * 1e3:.3g} ms"


def span(seconds: float) -> str:
    """In the largest unit of which there is one; with tenths below ten seconds, as somebody who waits counts."""
    if seconds < 9.95:
        return f"{max(0.0, seconds):.1f}".removesuffix(".0") + " s"
    for length, unit in ((_DAY, "d"), (_HOUR, "h"), (_MINUTE, "min")):
        if seconds >= length:
            return f"{int(seconds // length)} {unit}"
    return f"{int(seconds)} s"
