"""A statement as an operator may read it: which one it is, and none of the values in it."""

from __future__ import annotations

import re
from typing import Any

from psycopg import sql

from poolmgr.pools.sql.skeleton import skeleton
from poolmgr.secrets import scrub

#: Characters that are looked at, and those of them that are told.
_LOOKED_AT, _LONGEST = 5000, 300
_NUMBER = re.compile(r"(?<![\w$.])[+-]?\d[\w.]*")
_SPACE = re.compile(r"\s+")
UNREADABLE = "a statement that can't be told"


def told_statement(query: Any) -> str:
    """``query`` as a cursor was given it, with a ``?`` for each value in its text; parameters are none of it."""
    text = _text(query)
    if text is None:
        return UNREADABLE
    # What is cut off in the middle of a literal shows no end of it.
    bare = skeleton(text[:_LOOKED_AT])
    if bare is None:
        return UNREADABLE
    bare = _SPACE.sub(" ", _NUMBER.sub("?", bare.replace("''", "?"))).strip()
    bare = bare if len(bare) <= _LONGEST else bare[: _LONGEST - 1] + "…"
    return scrub("".join(letter if letter.isprintable() else "?" for letter in bare))


def _text(query: Any) -> str | None:
    try:
        if isinstance(query, sql.Composable):
            return query.as_string(None)
        return query.decode(errors="replace") if isinstance(query, bytes) else query if isinstance(query, str) else None
    except Exception:  # parts of the site's own making
        return None
