"""Which stretch of history a query asks for."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from django.utils.translation import gettext as _

from poolmgr.conf import ROLES
from poolmgr.dashboard.entry import queries
from poolmgr.dashboard.entry.queries import BadQuery as BadQuery
from poolmgr.metrics.tiers import RANGES

FORMATS = ("csv", "json")
DEFAULT = "1h"
#: The keys that there are.
KEYS = ("target", "role", "range", "from", "to", "format")
#: The shortest and the longest stretch, in seconds.
SHORTEST, LONGEST = 60.0, RANGES["30d"]


@dataclass(frozen=True, slots=True)
class Asked:
    """From ``begin`` to ``end`` in seconds since the epoch; ``range`` is the name of a stretch that ends now, or "", and
    ``format`` what programs want in place of a page, or ""."""

    target: str
    role: str
    begin: float
    end: float
    range: str
    format: str


def asked(query: Mapping[str, str], targets: Collection[str], now: float) -> Asked:
    """Raises ``BadQuery``, with the key, its value and what is allowed."""
    target = queries.choice(query, "target", targets) or (
        "default" if "default" in targets else min(targets, default="")
    )
    role, form = queries.choice(query, "role", ROLES), queries.choice(query, "format", FORMATS)
    begin, end, name = _stretch(query, now)
    return Asked(target, role, begin, end, name, form)


def _stretch(query: Mapping[str, str], now: float) -> tuple[float, float, str]:
    since, until = queries.time(query, "from"), queries.time(query, "to", end=True)
    name = queries.choice(query, "range", RANGES)
    if since is None and until is None:
        name = name or DEFAULT
        return now - RANGES[name], now, name
    if name:
        raise BadQuery(_("“range” goes with neither “from” nor “to”; leave out one or the others."))
    end = min(until.timestamp(), now) if until else now
    begin = since.timestamp() if since else end - RANGES[DEFAULT]
    if not SHORTEST <= end - begin <= LONGEST:
        said = _("From “from” (%(from)s) to “to” (%(to)s) must be a minute at least and 30 days at most.")
        raise BadQuery(said % {"from": query.get("from") or _("an hour before"), "to": query.get("to") or _("now")})
    return begin, end, ""
