"""Which of a target's processes a page lists, and in which order: what its query asks for, fifty at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from django.http.request import QueryDict
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from poolmgr.conf import ROLES
from poolmgr.dashboard.entry.queries import BadQuery
from poolmgr.dashboard.lines.rows import ProcessRow, Standing, process_row
from poolmgr.dashboard.lines.wanted import Wanted
from poolmgr.dashboard.words.present import number
from poolmgr.metrics.health import STATES

#: Processes on a page.
PAGE = 50

#: By name: the words for it, and what it sorts by; all but the first two have the largest first.
_SORTS: dict[str, tuple[Any, Callable[[Standing], Any]]] = {
    "worst": (gettext_lazy("worst first"), lambda of: 0),
    "place": (gettext_lazy("role and place"), lambda of: (of.beat.role, of.place)),
    "used": (gettext_lazy("in use"), lambda of: -of.pool.used),
    "waiting": (gettext_lazy("waiting"), lambda of: -of.pool.pending),
    "oldest": (gettext_lazy("oldest checkout"), lambda of: -of.pool.oldest_checkout),
    "timeouts": (gettext_lazy("timeouts"), lambda of: -of.pool.recent_timeouts),
}


@dataclass(frozen=True, slots=True)
class Listed:
    """What was asked for; "" is everything."""

    sort: str = "worst"
    text: str = ""
    role: str = ""
    state: str = ""
    page: int = 1
    all_holders: bool = False

    @classmethod
    def of(cls, query: QueryDict) -> Listed:
        """Raises ``BadQuery``."""
        page = query.get("page", "1")
        if not (page.isascii() and page.isdigit() and 0 < int(page) < 10_000):
            raise BadQuery(_("page is “%(value)s”, and must be a number from 1 on.") % {"value": page})
        return cls(
            sort=_one_of(query, "sort", _SORTS) or "worst",
            text=query.get("q", "").strip()[:100],
            role=_one_of(query, "role", ROLES),
            state=_one_of(query, "state", STATES),
            page=int(page),
            all_holders=_one_of(query, "holders", ("all",)) == "all",
        )

    def query(self, **other: Any) -> str:
        """As an address has it, with some of it changed; what is usual is left out."""
        values: dict[str, Any] = {
            "sort": self.sort,
            "q": self.text,
            "role": self.role,
            "state": self.state,
            "page": self.page,
        }
        values |= {"holders": "all" if self.all_holders else "", **other}
        usual = {"sort": "worst", "page": 1}
        return urlencode({name: value for name, value in values.items() if value and value != usual.get(name)})


@dataclass(frozen=True, slots=True)
class Choice:
    """One of a ``<select>``."""

    value: str
    label: str
    chosen: bool


@dataclass(frozen=True, slots=True)
class Listing:
    """``said`` tells how many there are where they are not all shown; ``before`` and ``after`` are queries, or ""."""

    rows: tuple[ProcessRow, ...]
    said: str
    before: str
    after: str
    text: str
    sorts: tuple[Choice, ...]
    roles: tuple[Choice, ...]
    states: tuple[Choice, ...]
    filtered: bool


def listing(stand: Sequence[Standing], asked: Listed, wanted: Wanted, now: float) -> Listing:
    """Of ``stand``, which come the worst first. Those alone that are shown are put into words."""
    found = [each for each in stand if _fits(each, asked)]
    found.sort(key=_SORTS[asked.sort][1])
    pages = max(1, -(-len(found) // PAGE))
    page = min(asked.page, pages)
    first = (page - 1) * PAGE
    shown = tuple(process_row(each, wanted, now) for each in found[first : first + PAGE])
    filtered = bool(asked.text or asked.role or asked.state)
    return Listing(
        rows=shown,
        said=_said(len(stand), len(found), first, len(shown)) if filtered or pages > 1 else "",
        before=asked.query(page=page - 1) or "page=1" if page > 1 else "",
        after=asked.query(page=page + 1) if page < pages else "",
        text=asked.text,
        sorts=tuple(Choice(name, str(label), name == asked.sort) for name, (label, _key) in _SORTS.items()),
        roles=_choices(sorted({each.beat.role for each in stand} | {asked.role} - {""}), asked.role),
        states=_choices(tuple(reversed(STATES)), asked.state),
        filtered=filtered,
    )


def _fits(of: Standing, asked: Listed) -> bool:
    if asked.role not in ("", of.beat.role) or asked.state not in ("", of.state):
        return False
    there = f"{of.beat.role} {of.place} {of.beat.name} {of.sentence} {of.settings}" if asked.text else ""
    return asked.text.lower() in there.lower()


def _said(everything: int, found: int, first: int, shown: int) -> str:
    if not found:
        return _("None of %(all)s processes fits.") % {"all": number(everything)}
    said = ngettext(
        "%(from)s to %(to)s of %(found)s process; %(all)s in all.",
        "%(from)s to %(to)s of %(found)s processes; %(all)s in all.",
        found,
    )
    figures = {"from": first + 1, "to": first + shown, "found": found, "all": everything}
    return said % {name: number(value) for name, value in figures.items()}


def _choices(values: Sequence[str], chosen: str) -> tuple[Choice, ...]:
    return tuple(Choice(value, _(value), value == chosen) for value in values)


def _one_of(query: QueryDict, name: str, allowed: Any) -> str:
    value = query.get(name, "")
    if value and value not in allowed:
        told = {"name": name, "value": value[:50], "allowed": ", ".join(allowed)}
        raise BadQuery(_("%(name)s is “%(value)s”, and must be one of %(allowed)s.") % told)
    return value
