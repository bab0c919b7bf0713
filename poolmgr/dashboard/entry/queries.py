"""What an address asks for behind its question mark: checked, and refused with the key, the value and what is allowed."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

from django.http.request import QueryDict
from django.utils import timezone
from django.utils.translation import gettext as _

from poolmgr.control.reporting.documents.paging import MOST, Page, parsed
from poolmgr.control.watching.log import KINDS, STATES, Search

#: Beyond that nobody turns pages: an earlier ``to`` leads further.
LAST_PAGE = 200
_LONGEST = 200
_NUMBER = re.compile(r"[0-9]{1,11}(\.[0-9]{1,6})?")
_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
#: A plus that came as the blank that it stands for in addresses.
_LOST_PLUS = re.compile(r" (?=[0-9]{2}:?[0-9]{2}$)")
#: What a row and PostgreSQL hold with room on both sides.
_FIRST, _LAST = datetime(1970, 1, 1, tzinfo=UTC), datetime(9000, 1, 1, tzinfo=UTC)


class BadQuery(ValueError):
    """A key or a value that there is none of; the message is a sentence."""


def refused(key: str, value: str, allowed: str) -> BadQuery:
    told = {"key": key, "value": value[:_LONGEST], "allowed": allowed}
    return BadQuery(_("“%(key)s” is “%(value)s”, but must be %(allowed)s.") % told)


def known(data: QueryDict, keys: Sequence[str]) -> None:
    """Refuse keys that are none of ``keys``: a filter that is misspelt, and so left out, would show what nobody asked for."""
    for key in data:
        if key not in keys:
            told = {"key": key[:_LONGEST], "allowed": ", ".join(keys) or _("none")}
            raise BadQuery(_("There is no parameter “%(key)s” here; there are: %(allowed)s.") % told)


def text(data: QueryDict, key: str) -> str:
    value = str(data.get(key, "")).strip()
    if len(value) > _LONGEST or not value.isprintable():
        raise refused(key, value, _("a text of %(n)s printable characters at most") % {"n": _LONGEST})
    return value


def choice(data: Mapping[str, Any], key: str, allowed: Collection[str]) -> str:
    value = str(data.get(key, ""))
    if value and value not in allowed:
        raise refused(key, value, _("one of %(values)s") % {"values": ", ".join(allowed)})
    return value


def flag(data: QueryDict, key: str) -> bool:
    return choice(data, key, ("0", "1")) == "1"


def page(data: QueryDict) -> int:
    value = str(data.get("page", "")) or "1"
    if not (value.isascii() and value.isdigit() and 1 <= len(value) <= 4 and 1 <= int(value) <= LAST_PAGE):
        raise refused("page", value, _("a whole number from 1 to %(most)s") % {"most": LAST_PAGE})
    return int(value)


def part(data: QueryDict, like: tuple[type, ...]) -> Page:
    """Which part of a list; of ``like`` are the parts of its keys."""
    limit, after = str(data.get("limit", "")), str(data.get("after", ""))
    if limit and not (limit.isascii() and limit.isdigit() and 1 <= len(limit) <= 4 and 1 <= int(limit) <= MOST):
        raise refused("limit", limit, _("a whole number from 1 to %(most)s") % {"most": MOST})
    key = parsed(after, like) if after else ()
    if key is None:
        raise refused("after", after, _("what another answer of this address has as “next”"))
    return Page(int(limit or 0), key)


def time(data: Mapping[str, Any], key: str, end: bool = False) -> datetime | None:
    """As aware as the site's own times are. A day alone is its beginning, or its ``end``."""
    value = str(data.get(key, "")).strip()
    if not value:
        return None
    try:
        found = _time(value, end)
    except (ValueError, OverflowError):
        found = None
    if found is None or not _FIRST <= found <= _LAST:
        allowed = _(
            "a time such as 2026-03-29T14:30, with a zone if it is not the site's, a day, or seconds since the epoch"
        )
        raise refused(key, value, allowed)
    return found if timezone.is_aware(timezone.now()) else timezone.make_naive(found)


def _time(value: str, end: bool) -> datetime:
    if _NUMBER.fullmatch(value):
        return datetime.fromtimestamp(float(value), UTC)
    if _DAY.fullmatch(value):
        begin = datetime.combine(date.fromisoformat(value), datetime.min.time())
        return timezone.make_aware(begin + timedelta(days=1, microseconds=-1) if end else begin)
    found = datetime.fromisoformat(_LOST_PLUS.sub("+", value))
    return found if timezone.is_aware(found) else timezone.make_aware(found)


#: The keys by which the log of events is searched.
SEARCH = ("target", "kind", "state", "author", "q", "from", "to", "page")


def search(data: QueryDict) -> Search:
    since, until = time(data, "from"), time(data, "to", end=True)
    if since and until and until < since:
        raise refused("to", str(data["to"]), _("no earlier than “from”"))
    return Search(
        target=text(data, "target"),
        kind=choice(data, "kind", KINDS),
        state=choice(data, "state", STATES),
        author=text(data, "author"),
        text=text(data, "q"),
        since=since,
        until=until,
    )
