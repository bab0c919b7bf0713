"""A part of a long list: its order is one of keys, so that who comes and goes meanwhile moves nobody to another page."""

from __future__ import annotations

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from bisect import bisect_right
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TypeVar

Key = tuple[float | str, ...]
_T = TypeVar("_T")

#: The most on a page that is asked for, and the longest ``next``, in characters.
MOST, LONGEST = 1000, 2000


@dataclass(frozen=True, slots=True)
class Page:
    """``limit`` is how many, 0 for all; ``after`` the key of the last before them."""

    limit: int = 0
    after: Key = ()


ALL = Page()


def part(found: Iterable[_T], key: Callable[[_T], Key], page: Page) -> tuple[list[_T], str | None]:
    """Those of the page, in order, and the ``next`` by which ``parsed()`` goes on; None where these are the last."""
    ordered = sorted(found, key=key)
    if page.after:
        ordered = ordered[bisect_right(ordered, page.after, key=key) :]
    shown = ordered[: page.limit] if page.limit else ordered
    return shown, _packed(key(shown[-1])) if len(shown) < len(ordered) else None


def _packed(key: Key) -> str:
    return urlsafe_b64encode(json.dumps(key).encode()).decode().rstrip("=")


def parsed(text: str, like: tuple[type, ...]) -> Key | None:
    """The key of a ``next``, whose parts have the types ``like``; None for what is none."""
    if len(text) > LONGEST:
        return None
    try:
        found = json.loads(urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    except (ValueError, RecursionError):
        return None
    is_one = isinstance(found, list) and [type(each) for each in found] == list(like)
    return tuple(found) if is_one else None
