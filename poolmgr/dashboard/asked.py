"""Which stretch of history a query asks for."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime

from django.utils import timezone
from django.utils.translation import gettext as _

from poolmgr.conf import ROLES
from poolmgr.metrics.tiers import RANGES

FORMATS = ("html", "csv", "json")
DEFAULT = "1h"
#: The shortest and the longest stretch, in seconds.
SHORTEST, LONGEST = 60.0, RANGES["30d"]


class BadQuery(ValueError):
    """What is wrong with it: a sentence with the key, its value and what is allowed."""


@dataclass(frozen=True, slots=True)
class Asked:
    """From ``begin`` to ``end`` in seconds since the epoch; ``range`` is the name of a stretch that ends now, or ""."""

    target: str
    role: str
    begin: float
    end: float
    range: str
    format: str


def asked(query: Mapping[str, str], targets: Collection[str], now: float) -> Asked:
    """Raises ``BadQuery``."""
    target = query.get("target") or ("default" if "default" in targets else min(targets, default=""))
    if target not in targets:
        raise _bad("target", target, targets)
    role = _one_of(query, "role", ("", *ROLES))
    format_ = _one_of(query, "format", FORMATS)
    begin, end, name = _stretch(query, now)
    return Asked(target, role, begin, end, name, format_)


def _stretch(query: Mapping[str, str], now: float) -> tuple[float, float, str]:
    given = [key for key in ("from", "to") if query.get(key)]
    if not given:
        name = query.get("range") or DEFAULT
        if name not in RANGES:
            raise _bad("range", name, RANGES)
        return now - RANGES[name], now, name
    if query.get("range"):
        raise BadQuery(_("“range” goes with neither “from” nor “to”; leave out one or the others."))
    end = min(_moment(query, "to"), now) if "to" in given else now
    begin = _moment(query, "from") if "from" in given else end - RANGES[DEFAULT]
    if not SHORTEST <= end - begin <= LONGEST:
        said = _("From “from” (%(from)s) to “to” (%(to)s) must be a minute at least and 30 days at most.")
        raise BadQuery(said % {"from": query.get("from") or _("an hour before"), "to": query.get("to") or _("now")})
    return begin, end, ""


def _moment(query: Mapping[str, str], key: str) -> float:
    text = query[key].strip()
    try:
        if text.isascii() and text.isdigit() and len(text) < 12:
            return float(text)
        # A plus sign in an address is a space.
        found = datetime.fromisoformat(text.replace(" ", "+") if text.count(":") > 2 else text)
        return (timezone.make_aware(found) if timezone.is_naive(found) else found).timestamp()
    except (ValueError, OverflowError, OSError):
        said = _("“%(key)s” is “%(value)s”, but must be a time such as 2026-11-26T12:00, or seconds since 1970.")
        raise BadQuery(said % {"key": key, "value": text[:50]}) from None


def _one_of(query: Mapping[str, str], key: str, allowed: Collection[str]) -> str:
    value = query.get(key) or next(iter(allowed))
    if value not in allowed:
        raise _bad(key, value, allowed)
    return value


def _bad(key: str, value: str, allowed: Collection[str]) -> BadQuery:
    said = _("“%(key)s” is “%(value)s”, but must be one of: %(allowed)s.")
    return BadQuery(said % {"key": key, "value": value[:50], "allowed": ", ".join(filter(None, allowed))})
